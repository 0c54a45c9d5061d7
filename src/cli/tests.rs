//! The command line as a user writes it, and the texts that come back.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn ok(line: &str) -> Options {
    parse(words(line), false).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn error(line: &str) -> String {
    match parse(words(line), false) {
        Ok(options) => panic!("{line}: {options:?}"),
        Err(error) => error.to_string(),
    }
}

/// The first line of the error, without where to read more.
fn fault(line: &str) -> String {
    error(line).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn run_is_the_default() {
    assert_eq!(ok(""), Options::default());
    assert_eq!(ok("run"), ok(""));
    let options = ok("-c a.conf --config=/etc/d -c b --pidfile /run/x --notify-fd 4 --log=kmsg --log-level debug");
    assert_eq!(options.config, ["a.conf", "/etc/d", "b"].map(PathBuf::from));
    assert_eq!(options.pidfile, Some(PathBuf::from("/run/x")));
    assert_eq!(options.notify_fd, Some(4));
    assert_eq!(options.log, Target::Kmsg);
    assert_eq!(options.level, LevelFilter::Debug);
}

#[test]
fn detached_the_log_is_syslog() {
    let options = ok("-d");
    assert!(options.detach);
    assert_eq!(options.log, Target::Syslog);
    assert_eq!(ok("-d --log kmsg").log, Target::Kmsg);
    assert!(fault("-d --log stderr").contains("expected syslog or kmsg"));
}

#[test]
fn levels_have_two_ends() {
    assert_eq!(ok("-v").level, LevelFilter::Debug);
    assert_eq!(ok("-vvvvv").level, LevelFilter::Trace);
    assert_eq!(ok("-q").level, LevelFilter::Warn);
    assert_eq!(ok("-qqqqq").level, LevelFilter::Error);
    assert_eq!(ok("--log-level error -v").level, LevelFilter::Warn);
    assert_eq!(fault("--log-level loud"), "--log-level got \"loud\"; expected error, warn, info, debug or trace");
}

#[test]
fn check_and_explain() {
    let options = ok("check --print -c x");
    assert_eq!((options.command, options.print), (Command::Check, true));
    let options = ok("explain -c x ssh");
    assert_eq!((options.command, options.names), (Command::Explain, vec!["ssh".into()]));
    assert_eq!(fault("explain"), "explain needs the NAME of a service, for example: dormouse explain ssh");
    assert_eq!(fault("explain a b"), "unexpected word \"b\"");
}

#[test]
fn activate_stops_at_the_program() {
    let activate = ok("activate -l 8080 -aE A=1=2 --setenv B --inetd cat -l -- --help").activate;
    assert!(activate.accept && activate.inetd && !activate.once && !activate.now);
    assert_eq!(activate.environment, [("A".into(), Some("1=2".into())), ("B".into(), None)]);
    assert_eq!(activate.program, ["cat", "-l", "--", "--help"]);
    assert_eq!(ok("activate -l 1 -- -odd --arg").activate.program, ["-odd", "--arg"]);
    assert_eq!(ok("activate -l 1 -E A= cat").activate.environment, [("A".into(), Some("".into()))]);
}

#[test]
fn each_address_may_tell_its_type() {
    let line = "activate -d -l tcp:53 -l udp:[::1]:53 -l unix:/run/x -l unixgram:@x -l seqpacket:/run/y -l fifo:/run/z \
                -l 53 -l /run/w cat";
    let found: Vec<_> = ok(line).activate.listen.into_iter().map(|l| (l.kind, l.address)).collect();
    let expected = [
        (Kind::Stream, "53"),
        (Kind::Datagram, "[::1]:53"),
        (Kind::Stream, "/run/x"),
        (Kind::Datagram, "@x"),
        (Kind::SequentialPacket, "/run/y"),
        (Kind::Fifo, "/run/z"),
        (Kind::Datagram, "53"),
        (Kind::Datagram, "/run/w"),
    ];
    assert_eq!(found, expected.map(|(kind, address)| (kind, OsString::from(address))));
    assert_eq!(ok("activate --seqpacket -l /run/x cat").activate.listen[0].kind, Kind::SequentialPacket);
}

#[test]
fn activate_refuses_what_does_not_fit_together() {
    for (line, part) in [
        ("activate", "no program to start"),
        ("activate -l 1 --", "no program to start"),
        ("activate cat", "no address to listen on; expected -l ADDR"),
        ("activate -l 1 -d -a cat", "--accept needs connections"),
        ("activate -l 1 -l fifo:/x -a cat", "--accept needs connections"),
        ("activate -l 1 --now -a cat", "--now and --accept exclude"),
        ("activate -l 1 --once -a cat", "--once and --accept exclude"),
        ("activate -l 1 -l 2 --inetd cat", "give one -l, or add -a"),
        ("activate -l 1 --inetd --fdname x cat", "--fdname has no meaning with --inetd"),
        ("activate -l 1 -d --seqpacket cat", "exclude each other"),
        ("activate -l unix:run/x cat", "expected a path from the root or @NAME"),
        ("activate -l unix: cat", "expected a path"),
        ("activate -l unix:@ cat", "expected a path"),
        ("activate -l fifo:@x cat", "expected a path from the root, for example fifo:"),
        ("activate -l tcp:/run/x cat", "expected a port or HOST:PORT"),
        ("activate -l udp: cat", "expected a port or HOST:PORT"),
        ("activate -l 1 -E =x cat", "expected NAME=VALUE"),
        ("activate -l 1 --fdname a::b cat", "expected names of 1 to 255"),
        ("activate -l 1 --fdname ä cat", "expected names of 1 to 255"),
    ] {
        let text = error(line);
        assert!(text.contains(part), "{line}: {text}");
        assert!(text.ends_with("\ntry: dormouse help activate"), "{text}");
    }
    assert!(parse(words("activate cat"), true).is_ok(), "sockets were inherited");
}

#[test]
fn one_name_serves_for_all_sockets() {
    let names = |text: &str| ok(&format!("activate -l 1 --fdname {text} cat")).activate.names;
    assert_eq!(resolve_names(&names("web"), 3), Ok(vec!["web"; 3]));
    assert_eq!(resolve_names(&names("web:admin"), 2), Ok(vec!["web", "admin"]));
    assert_eq!(resolve_names(&[], 2), Ok(vec![]));
    let two = names("a:b");
    let text = resolve_names(&two, 3).map_err(|error| error.to_string());
    assert!(text.is_err_and(|text| text.starts_with("--fdname gives 2 names for 3 sockets; expected one name")));
}

#[test]
fn unknown_words_get_a_guess() {
    assert_eq!(error("chekc"), "unknown command \"chekc\"; did you mean \"check\"?\ntry: dormouse --help");
    assert_eq!(fault("zebra"), "unknown command \"zebra\"");
    assert_eq!(
        fault("activate --acept -l 1 cat"),
        "activate does not take the option \"--acept\"; did you mean \"--accept\"?"
    );
    assert_eq!(fault("check --detach"), "check does not take the option \"--detach\", it belongs to run");
    assert_eq!(fault("check ./a"), "unexpected word \"./a\"; -c is for the path of a configuration");
    assert_eq!(fault("check -Z"), "check does not take the option \"-Z\"");
    let blank = parse(["check", "- "].map(OsString::from).to_vec(), false);
    assert!(blank.is_err_and(|error| error.text.starts_with("check does not take the option \"- \"")));
    assert_eq!(fault("-c x check"), "unexpected word \"check\"; a command must be the first word");
    assert_eq!(fault("a\x1b[2J\u{202e}"), "unknown command \"a\\x1b[2J\\xe2\\x80\\xae\"");
}

#[test]
fn reload_takes_no_service() {
    assert!(ok("reload").command == Command::Reload && fault("reload web").contains("unexpected word"));
}

#[test]
fn arguments_must_be_there_and_only_where_expected() {
    assert_eq!(fault("-c"), "--config needs an argument: PATH");
    assert_eq!(fault("--config="), "--config got an empty argument; expected PATH");
    assert_eq!(fault("--detach=yes"), "the option --detach takes no argument");
    for value in ["2", "-1", "x", "99999999999"] {
        assert!(fault(&format!("--notify-fd={value}")).contains("expected the number of an open descriptor from 3"));
    }
    assert_eq!(fault("--log file"), "--log got \"file\"; expected stderr, syslog or kmsg");
}

#[test]
fn help_and_version() {
    for (line, topic) in [
        ("--help", None),
        ("help", None),
        ("help check", Some(Command::Check)),
        ("check -h", Some(Command::Check)),
        ("activate --help", Some(Command::Activate)),
    ] {
        let options = ok(line);
        assert_eq!((options.command, options.topic), (Command::Help, topic), "{line}");
    }
    assert_eq!(ok("--version").command, Command::Version);
    assert_eq!(ok("check -V").command, Command::Version);
}

#[test]
fn the_overview_fits_on_a_screen() {
    let text = usage();
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.ends_with('\n'));
    for row in COMMANDS.iter().filter(|row| row.command.is_some()) {
        assert!(text.contains(&format!("\n  {} ", row.word)), "{text}");
    }
}

#[test]
fn help_names_every_option_of_the_command() {
    for command in [Command::Run, Command::Check, Command::Activate, Command::Explain, Command::Help] {
        let text = help(command);
        for row in OPTIONS.iter().filter(|row| row.is_for(command)) {
            assert!(text.contains(&format!("--{}", row.usage)) && text.contains(row.line()), "{text}");
        }
        for line in text.lines().chain(usage().lines()) {
            assert!(line.len() <= 80, "{line}");
            assert_eq!(line.trim_end(), line);
        }
    }
}

#[test]
fn no_two_options_of_a_command_have_the_same_name() {
    for command in [Command::Run, Command::Check, Command::Activate, Command::Explain, Command::Help] {
        let rows: Vec<_> = OPTIONS.iter().filter(|row| row.is_for(command)).collect();
        for (at, row) in rows.iter().enumerate() {
            for other in &rows[at + 1..] {
                assert!(row.long() != other.long() && (row.short == NONE || row.short != other.short), "{}", row.usage);
            }
        }
    }
}

#[test]
fn convert_takes_paths() {
    let options = ok("convert --dialect openbsd a b");
    assert_eq!(options.names, ["a", "b"]);
    assert_eq!(options.inetd.dialect, Some(Dialect::Openbsd));
    assert!(ok("check --dialect xinetd").inetd.xinetd);
    assert!(fault("convert").contains("/etc/inetd.conf"));
    assert!(fault("check --dialect net").starts_with("--dialect got \"net\"; expected busybox, openbsd, "));
}

#[test]
fn an_inetd_takes_the_options_of_an_inetd() {
    let inetd = |line: &str| parse_inetd(words(line)).map_err(|error| error.text);
    let plain = inetd("-f").unwrap();
    assert!(!plain.detach && plain.log == Target::Syslog && plain.inetd.by_name);
    assert_eq!(plain.config, [PathBuf::from("/etc/inetd.conf")]);
    let options = inetd("-fE -l -q 5 -R100 -a ::1 --dialect freebsd a b").unwrap();
    assert!(!options.detach && options.log == Target::Syslog && options.level == LevelFilter::Debug);
    assert_eq!((options.inetd.backlog, options.inetd.rate, options.inetd.keep_environment), (Some(5), Some(100), true));
    assert_eq!((options.inetd.address.as_deref(), options.inetd.dialect), (Some("::1"), Some(Dialect::Freebsd)));
    assert_eq!(options.config, ["a", "b"].map(PathBuf::from).to_vec());
    let options = inetd("-d").unwrap();
    assert!(!options.detach && options.log == Target::Stderr && options.level == LevelFilter::Debug);
    assert_eq!(inetd("-fe").unwrap().log, Target::Stderr);
    assert_eq!(inetd("-h").unwrap().command, Command::Help);
    assert_eq!(inetd("-q x").unwrap_err(), "-q got \"x\"; expected a number");
    assert_eq!(inetd("-R").unwrap_err(), "-R needs a number");
    assert!(inetd("--dialect net").unwrap_err().starts_with("--dialect got \"net\"; expected busybox, openbsd, "));
    assert!(inetd("-w").is_err() && inetd("--what").is_err());
}

#[test]
fn an_inetd_goes_to_the_background_or_refuses() {
    let inetd = |line: &str| parse_inetd(words(line)).map_err(|error| error.text);
    if cfg!(feature = "detach") {
        let plain = inetd("-ep /run/x").unwrap();
        assert!(plain.detach && plain.log == Target::Syslog, "no standard error there");
        assert_eq!(plain.pidfile, Some("/run/x".into()));
    } else {
        assert!(inetd("").unwrap_err().contains("not part of this build"));
        assert!(inetd("-fp /run/x").unwrap_err().contains("try: inetd -f"));
        assert_eq!(inetd("-V").unwrap().command, Command::Version);
    }
}
