//! What every test gets: a folder, ports and scripts of its own, and its needs checked before it starts.

use crate::daemon::{Daemon, Launch, kill};
use libtest_mimic::{Completion, Failed, Trial};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The program under test: the one that cargo built, or another build of it by `DORMOUSE_BINARY=PATH`.
pub fn dormouse() -> String {
    std::env::var("DORMOUSE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_dormouse").into())
}
/// How long anything may take before a test calls it missing: generous, for loaded machines.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a test cannot do without.
#[derive(Clone, Copy)]
pub enum Need {
    Root,
    /// A program, looked for in PATH and the sbin folders.
    Prog(&'static str),
    /// An applet of the installed busybox.
    Applet(&'static str),
    /// A module of Debian's own python3.
    Python(&'static str),
    File(&'static str),
    /// tftp and in.tftpd by H. Peter Anvin, whose options the tests give: others have the same names.
    Tftp,
    /// A command of dormouse that not every version or build has.
    Command(&'static str),
    /// A directive that not every version or build carries out.
    Directive(&'static str),
    /// A part of the program that a build may leave out: a feature of Cargo.toml, as `--version` tells.
    Part(&'static str),
}

pub struct Test {
    pub module: &'static str,
    pub name: &'static str,
    pub needs: &'static [Need],
    pub run: fn(&mut Ctx),
}

#[macro_export]
macro_rules! test {
    ($function:ident $(, $need:expr)*) => {
        $crate::harness::Test { module: module_path!(), name: stringify!($function), needs: &[$($need),*], run: $function }
    };
}

impl Need {
    /// The reason why a test is skipped, if this need is not met here.
    fn missing(self) -> Option<String> {
        match self {
            Need::Root => (!is_root()).then(|| "needs root".into()),
            Need::Prog(name) => which(name).is_none().then(|| format!("no program {name}")),
            Need::File(path) => (!Path::new(path).exists()).then(|| format!("no {path}")),
            Need::Tftp => {
                ["in.tftpd", "tftp"].into_iter().find(|name| !is_hpa(name)).map(|name| format!("no {name} of tftp-hpa"))
            }
            Need::Applet(name) => (!has_applet(name)).then(|| format!("no busybox with {name}")),
            Need::Command(word) => {
                lacks(&[word, "--no-such-option"]).then(|| format!("this dormouse has no command {word}"))
            }
            Need::Directive(name) => (!has_directive(name)).then(|| format!("this dormouse has no {name}=")),
            Need::Part(name) => (!has_part(name)).then(|| format!("this dormouse is built without {name}")),
            Need::Python(module) => {
                let found = Command::new("/usr/bin/python3").args(["-c", &format!("import {module}")]).output();
                (!found.is_ok_and(|out| out.status.success())).then(|| format!("no python3 module {module}"))
            }
        }
    }
}

fn is_hpa(name: &str) -> bool {
    let told = which(name).and_then(|path| Command::new(path).arg("-V").stdin(Stdio::null()).output().ok());
    told.is_some_and(|out| String::from_utf8_lossy(&out.stdout).contains("tftp-hpa"))
}

fn has_applet(name: &str) -> bool {
    let Some(busybox) = which("busybox") else { return false };
    let list = Command::new(busybox).arg("--list").output().map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&list).lines().any(|line| line == name)
}

/// Does the program say that this is not part of it?
fn lacks(words: &[&str]) -> bool {
    let (_, text) = crate::commands::dormouse(words);
    text.contains("this build") || text.contains("this version")
}

fn has_directive(name: &str) -> bool {
    let folder = new_folder(name);
    let file = folder.join("probe.conf");
    let _ = fs::write(&file, format!("[x]\nListenStream=1\nExecStart=/bin/true\n{name}=1\n"));
    let lacks = lacks(&["check", "-c", &file.display().to_string()]);
    let _ = fs::remove_dir_all(&folder);
    !lacks
}

/// Whether the program has a part that a build may leave out.
pub fn has_part(name: &str) -> bool {
    static VERSION: OnceLock<String> = OnceLock::new();
    let version = VERSION.get_or_init(|| crate::commands::dormouse(&["--version"]).1);
    version.split_whitespace().any(|word| word == name)
}

/// Whether the daemon can be asked and ordered about.
pub fn has_control() -> bool {
    has_part("control")
}

/// The words that keep an inetd's control socket closed, where it has one.
pub fn without_control() -> &'static [&'static str] {
    if has_control() { &["--control", "off"] } else { &[] }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where `name` is installed.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    folders.map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
}

/// Where `name` is installed, as text for a configuration; the test has it among its needs.
pub fn prog(name: &str) -> String {
    which(name).unwrap_or_else(|| panic!("{name} is not among the needs of this test")).display().to_string()
}

impl Test {
    pub fn trial(&'static self) -> Trial {
        let module = self.module.strip_prefix("system::").unwrap_or(self.module);
        let name = format!("{module}::{}", self.name);
        trial(name, self.needs, self.run)
    }
}

/// A test by the name `name` that calls `run` in a thread, a folder and (root) a network namespace of its own.
pub fn trial<F: FnOnce(&mut Ctx) + Send + 'static>(name: String, needs: &'static [Need], run: F) -> Trial {
    Trial::ignorable_test(name.clone(), move || {
        if let Some(reason) = needs.iter().find_map(|need| need.missing()) {
            return Ok(Completion::ignored_with(reason));
        }
        let folder = new_folder(&name);
        let in_thread = folder.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut ctx = Ctx::new(in_thread);
            run(&mut ctx);
            ctx.skip.take()
        });
        let outcome = thread.expect("a thread for the test").join();
        match outcome {
            Ok(skip) => {
                let _ = fs::remove_dir_all(&folder);
                Ok(skip.map_or(Completion::Completed, Completion::ignored_with))
            }
            Err(panic) => match panic.downcast::<Skip>() {
                Ok(skip) => {
                    let _ = fs::remove_dir_all(&folder);
                    Ok(Completion::ignored_with(skip.0))
                }
                Err(panic) => Err(report(&folder, panic.as_ref())),
            },
        }
    })
}

/// Why a test ends early without having failed.
struct Skip(String);

/// Skips the test if its configuration asks for what this build has not.
fn skip_if_left_out(config: &str) {
    static WHOLE: OnceLock<bool> = OnceLock::new();
    if *WHOLE.get_or_init(|| ::dormouse::cli::PARTS.iter().all(|(name, _)| has_part(name))) {
        return;
    }
    let (_, text) = crate::commands::dormouse(&["check", "-c", config]);
    if let Some(line) = text.lines().find(|line| line.contains("not part of this build")) {
        let reason = line.rsplit_once("error: ").map_or(line, |(_, reason)| reason);
        std::panic::resume_unwind(Box::new(Skip(reason.into())));
    }
}

/// The panic's text and the end of each log in `folder`, which is left for inspection.
fn report(folder: &Path, panic: &(dyn std::any::Any + Send)) -> Failed {
    let message = panic.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string())).unwrap_or_default();
    let mut text = format!("{message}\nfiles are left in {}", folder.display());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("log") && entry.path().is_file() {
            let log = fs::read(entry.path()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let skip = log.lines().count().saturating_sub(25);
            text += &format!("\n--- the end of {name}\n");
            text += &log.lines().skip(skip).collect::<Vec<_>>().join("\n");
        }
    }
    text.into()
}

fn new_folder(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let short = name.rsplit("::").next().unwrap_or(name);
    let folder = std::env::temp_dir().join(format!("dmt-{}-{number}-{short}", std::process::id()));
    let _ = fs::remove_dir_all(&folder); // of a failed run with the same pid
    fs::create_dir_all(&folder).expect("a temporary folder");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&folder, everybody).expect("a folder that services of other users can enter");
    folder
}

pub struct Ctx {
    pub dir: PathBuf,
    /// True in a network namespace of this test's own, where every port is free.
    pub own_net: bool,
    next_port: u16,
    started: usize,
    skip: Option<String>,
}

impl Ctx {
    fn new(dir: PathBuf) -> Ctx {
        let own_net = is_root() && own_network().is_ok();
        Ctx { dir, own_net, next_port: 7001, started: 0, skip: None }
    }

    /// Marks the test as skipped for `reason`; the test returns afterwards.
    pub fn skip(&mut self, reason: &str) {
        self.skip = Some(reason.into());
    }

    /// A port that nobody uses, nor the next one. In a shared network it lies below those that the kernel gives to
    /// clients, so that nobody gets it by chance a moment later.
    pub fn port(&mut self) -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        const FIRST: u16 = 10_000;
        const COUNT: u16 = 10_000;
        if self.own_net {
            self.next_port += 1;
            return self.next_port - 1;
        }
        let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
        loop {
            let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT * 2;
            let free =
                |port| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
            if free(port) && free(port + 1) {
                return port;
            }
        }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Writes a file into the test's folder and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A shell script, as the words of a command line that runs it.
    pub fn script(&self, name: &str, body: &str) -> String {
        format!("/bin/sh {}", self.file(name, body))
    }

    /// The lines of a file in the test's folder; none if it is not there.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read(self.dir.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(String::from).collect()
    }

    /// Starts the daemon on `config` and waits until it is ready.
    pub fn start(&mut self, config: &str) -> Daemon {
        self.launch(config).start()
    }

    /// The daemon on `config`, not yet started.
    pub fn launch(&mut self, config: &str) -> Launch {
        self.started += 1;
        let config = self.file("dormouse.conf", config);
        skip_if_left_out(&config);
        Launch::new(&self.dir, self.started, Some(config))
    }
}

impl Drop for Ctx {
    /// Ends what the test has left behind: it runs in the test's network namespace, or names the test's folder.
    fn drop(&mut self) {
        let net = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own_net = self.own_net.then(|| net("thread-self")).flatten();
        let folder = self.dir.display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse::<i32>() else { continue };
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let ours = own_net.is_some() && net(&name) == own_net || String::from_utf8_lossy(&words).contains(&folder);
            if ours && pid != std::process::id() as i32 {
                kill(pid, libc::SIGKILL);
            }
        }
    }
}

/// The stand-in service `words` (see `stand_in`), as a command line.
pub fn stand_in(words: &str) -> String {
    let own = std::env::current_exe().expect("the path of the test program");
    format!("{} --as-service {words}", own.display())
}

/// The path of a helper in tests/system/services.
pub fn service_file(name: &str) -> String {
    format!("{}/tests/system/services/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Polls until `condition` holds; panics after [`PATIENCE`].
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "waited {} s in vain for: {what}", PATIENCE.as_secs());
}

/// Polls until `condition` holds, or the time is over.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Moves the calling thread, and what it starts, into a new network namespace with only loopback, up.
fn own_network() -> std::io::Result<()> {
    // SAFETY: plain system calls on a zeroed request that outlives them; the namespace changes for this thread only.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let done = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request);
        libc::close(socket);
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}
