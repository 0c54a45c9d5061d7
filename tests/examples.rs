//! Everything that is installed beside the binary, and the README: examples are read, scripts are checked, and what is
//! said twice is the same in both places. What needs a program that is not installed is reported as ignored.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test ends at the first surprise")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dormouse::config;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::net::{AddressFamily, SocketType};

/// What can go wrong.
type Outcome = Result<(), Failed>;

/// How long anything may take before it counts as missing: generous, for loaded machines.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("README configuration", readme_configuration),
        Trial::test("Cross.toml passes the capacities on", container_has_the_capacities),
        Trial::test("README exit codes", readme_exit_codes),
        Trial::test("dormouse.conf.5 configuration", manual_configuration),
        Trial::test("packages have the version of Cargo.toml", packages_have_the_version),
        needing(&["sha256sum", "md5sum"], "packages know the licences", packages_know_the_licences),
        needing(&["/usr/bin/python3"], "demo.conf works", demo_works),
        needing(&["busybox"], "procd script by a stub of its API", procd_script),
        needing(&["sh"], "scripts start what leaves something out", scripts_start_what_runs),
        needing(&["systemd-analyze"], "systemd unit", systemd_unit),
    ];
    for path in files("configs").into_iter().filter(|path| path.extension().is_some_and(|end| end == "conf")) {
        trials.push(Trial::test(path.display().to_string(), move || sound(&path)));
    }
    for path in scripts() {
        let name = path.display().to_string();
        let twin = path.clone();
        trials.push(needing(&["sh"], &format!("sh -n {name}"), move || run("sh", &["-n", twin.to_str().unwrap()])));
        trials.push(needing(&["shellcheck"], &format!("shellcheck {name}"), move || shellcheck(&path)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that needs programs.
fn needing(programs: &[&'static str], name: &str, test: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let missing = programs.iter().find(|program| which(program).is_none()).copied();
    Trial::ignorable_test(name.to_owned(), move || match missing {
        Some(program) => Ok(Completion::ignored_with(format!("no program {program}"))),
        None => test().map(|()| Completion::Completed),
    })
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

/// All files below a folder, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Files for a shell: those with a first line that says so, and a few that are read by one.
fn scripts() -> Vec<PathBuf> {
    let read_by_shell = |path: &Path| path.ends_with("APKBUILD") || path.extension().is_some_and(|end| end == "confd");
    let is_script = |path: &PathBuf| fs::read(path).unwrap().starts_with(b"#!") || read_by_shell(path);
    files("configs").into_iter().filter(is_script).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

fn run(program: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&said)).into())
}

/// Variables that are set for, or by, the program that reads the script.
fn shellcheck(path: &Path) -> Outcome {
    run("shellcheck", &["-s", "dash", "-e", "SC2034,SC2154", path.to_str().unwrap()])
}

fn sound(path: &Path) -> Outcome {
    let draft = config::read(&[path.to_owned()]);
    let report = draft.report();
    if report.is_empty() || report.contains("is not part of this build") { Ok(()) } else { Err(report.into()) }
}

/// The text of a configuration reads without a fault.
fn reads(name: &str, text: &str) -> Outcome {
    let draft = config::read_text(name, text.as_bytes());
    let report = draft.report();
    if report.is_empty() && !draft.services.is_empty() { Ok(()) } else { Err(format!("{report}\n{text}").into()) }
}

/// The indented blocks of the README that begin with a section.
fn readme_configuration() -> Outcome {
    let readme = text("README.md");
    let mut block = String::new();
    let mut blocks = Vec::new();
    for line in readme.lines().chain(["end"]) {
        match line.strip_prefix("    ") {
            Some(code) => block += &[code, "\n"].concat(),
            None if line.is_empty() => block += "\n",
            None => blocks.push(std::mem::take(&mut block)),
        }
    }
    let configurations: Vec<_> = blocks.iter().filter(|block| block.trim_start().starts_with("[")).collect();
    if configurations.is_empty() {
        return Err("the README shows no configuration".into());
    }
    configurations.iter().try_for_each(|text| reads("README.md", text))
}

fn manual_configuration() -> Outcome {
    let manual = text("configs/man/dormouse.conf.5");
    let (_, rest) = manual.split_once(".Bd -literal -offset indent\n").ok_or("no example")?;
    let (example, _) = rest.split_once(".Ed\n").ok_or("no end of the example")?;
    reads("dormouse.conf.5", example)
}

/// What can be set when the program is built reaches a build in a container, too.
fn container_has_the_capacities() -> Outcome {
    let passed_on = text("cross/Cross.toml");
    let source = text("src/limits.rs");
    for name in source.split("option_env!(").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !passed_on.contains(name) {
            return Err(format!("cross/Cross.toml does not pass {name} on").into());
        }
    }
    Ok(())
}

fn readme_exit_codes() -> Outcome {
    use dormouse::cli::exit;
    let readme = text("README.md");
    for code in [exit::DONE, exit::NO, exit::USAGE, exit::SYSTEM, exit::CONFIG] {
        if !readme.contains(&format!("| {code} |")) {
            return Err(format!("the README does not tell of the exit code {code}").into());
        }
    }
    Ok(())
}

fn packages_have_the_version() -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let lines = [
        ("configs/alpine/APKBUILD", format!("pkgver={version}\n")),
        ("configs/openwrt/dormouse/Makefile", format!("PKG_VERSION:={version}\n")),
        ("configs/buildroot/dormouse/dormouse.mk", format!("DORMOUSE_VERSION = {version}\n")),
    ];
    for (path, line) in lines {
        if !text(path).contains(&line) {
            return Err(format!("{path} has no line {line}").into());
        }
    }
    let recipe = format!("configs/yocto/dormouse_{version}.bb");
    if Path::new(&recipe).exists() { Ok(()) } else { Err(format!("there is no {recipe}").into()) }
}

fn packages_know_the_licences() -> Outcome {
    let sums = [
        ("sha256sum", text("configs/buildroot/dormouse/dormouse.hash")),
        ("md5sum", text(&format!("configs/yocto/dormouse_{}.bb", env!("CARGO_PKG_VERSION")))),
    ];
    for (program, list) in sums {
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let output = Command::new(program).arg(licence).output()?.stdout;
            let sum = String::from_utf8(output)?.split(' ').next().unwrap_or("").to_owned();
            if sum.is_empty() || !list.contains(&sum) {
                return Err(format!("the {program} of {licence} is {sum}").into());
            }
        }
    }
    Ok(())
}

/// A child that does not outlive its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let _ = self.0.wait();
    }
}

/// What the first lines of the README promise, on other ports.
fn demo_works() -> Outcome {
    let (hello, page) = (free_port()?, free_port()?);
    let demo = text("configs/demo.conf").replace(":8080", &format!(":{hello}")).replace(":8081", &format!(":{page}"));
    let file = std::env::temp_dir().join(format!("dormouse-demo-{}.conf", std::process::id()));
    fs::write(&file, demo)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.args(["run", "-q", "-c"]).arg(&file).stderr(Stdio::null());
    let daemon = Daemon(command.spawn()?);
    let answer = get(hello, "/a");
    let page = get(page, "/");
    drop(daemon);
    fs::remove_file(&file)?;
    let (answer, page) = (answer?, page?);
    if !answer.contains("Hello 127.0.0.1") || !answer.contains("asked for /a.") {
        return Err(format!("hello said: {answer}").into());
    }
    if !page.starts_with("HTTP/1.0 200") {
        return Err(format!("page said: {page}").into());
    }
    Ok(())
}

/// Nothing has ever listened there: a process that another test is just starting could hold that listener for a moment,
/// and would reset who connects to it.
fn free_port() -> Result<u16, rustix::io::Errno> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok(address.port())
}

/// One request, as soon as the port is open.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let begin = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if begin.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The calls that the script makes to procd, in the shell of a router.
fn procd_script() -> Outcome {
    const STUB: &str = r#"
        call() { echo "$@"; }
        procd_open_instance() { call open "$@"; }
        procd_close_instance() { call close; }
        procd_set_param() { call set "$@"; }
        start() { call start; start_service; }
        . "$1"
        PROG=$2
        [ "$USE_PROCD" = 1 ] && [ -n "$START" ] || echo "no START or USE_PROCD"
        start_service
        PROG=true; reload_service >/dev/null || echo "no reload"
        leaves_out() { return 1; }
        PROG=leaves_out; reload_service >/dev/null || echo "no reload where something is left out"
        faulty() { return 78; }
        PROG=faulty; reload_service && echo "reload of a faulty configuration"
        true
    "#;
    let script = "configs/procd/dormouse";
    if !text(script).starts_with("#!/bin/sh /etc/rc.common\n") {
        return Err("the first line is not that of rc.common".into());
    }
    let output = Command::new("busybox").args(["sh", "-c", STUB, "sh", script, "true"]).output()?;
    let found = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let expected = "open\nset command true run -c /etc/dormouse.conf\nset respawn 3600 1 0\nset file /etc/dormouse.conf\n\
                    set reload_signal HUP\nset stderr 1\nset term_timeout 100\nclose\n";
    if found == expected { Ok(()) } else { Err(format!("found:\n{found}expected:\n{expected}").into()) }
}

/// A restart of what has a faulty unit in a folder, beside sound ones, by scripts that look before they leap. The
/// programs are stubs.
fn scripts_start_what_runs() -> Outcome {
    const DORMOUSE: &str = "case $STATE in sound) ;; faulty) exit 78 ;; *) exit 1 ;; esac";
    const OPENRC: &str = r#". configs/openrc/dormouse; command=$1/dormouse; start_pre && RC_CMD=restart && stop_pre"#;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripts");
    fs::create_dir_all(&folder)?;
    let place = folder.to_str().unwrap();
    let buildroot = text("configs/buildroot/dormouse/S50dormouse").replace("/usr/sbin/", &format!("{place}/"));
    let daemon = "for word; do [ $word != --test ] || exit 1; done"; // it has ended
    for (name, script) in [("dormouse", DORMOUSE), ("start-stop-daemon", daemon), ("buildroot", &buildroot)] {
        let draft = folder.join("draft").display().to_string();
        fs::write(&draft, format!("#!/bin/sh\n{script}\n"))?;
        // by another process: a descriptor of ours could be inherited by what a neighbour starts, and make the file
        // busy
        run("install", &["-m", "755", &draft, &format!("{place}/{name}")])?;
    }
    let path = format!("{place}:{}", std::env::var("PATH").unwrap_or_default());
    let both: [&[&str]; 2] = [&["-c", OPENRC, "sh", place], &[&format!("{place}/buildroot"), "restart"]];
    for (arguments, state) in both.into_iter().flat_map(|words| ["sound", "leaves out", "faulty"].map(|it| (words, it)))
    {
        let status = Command::new("sh").args(arguments).env("PATH", &path).env("STATE", state).output()?.status;
        if status.success() != (state != "faulty") {
            return Err(format!("{arguments:?} of what is {state}: {status}").into());
        }
    }
    Ok(())
}

/// systemd has nothing to say but that the program is not installed.
fn systemd_unit() -> Outcome {
    let unit = std::env::current_dir()?.join("configs/systemd/dormouse.service");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let faults: Vec<_> =
        said.lines().filter(|line| line.contains("dormouse.service") && !line.contains("not executable")).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}
