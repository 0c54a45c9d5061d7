//! What is said of a command line that is not understood.

use super::UsageError;
use super::table::said;
use crate::packed::{fill, texts};

const ACTIVATE: bool = cfg!(feature = "activate");
const NOTIFY: bool = cfg!(feature = "notify");
const INETD: bool = cfg!(feature = "inetd");
const HELP: bool = cfg!(feature = "help");
const NAMES: bool = cfg!(any(feature = "control", feature = "explain", feature = "inetd"));
const SUGGEST: bool = cfg!(feature = "suggest");

texts! {
    /// The texts, packed behind those of the help.
    enum Say {
        @true =>
        NotTaken "{0} does not take the option \"{1}{2}\"";
        TakenBy "{0} does not take the option \"{1}{2}\", it belongs to {3}";
        OptionNotInBuild "the option \"{1}{2}\" is not part of this build";
        CommandNotInBuild "the command \"{0}\" is not part of this build";
        Unknown "unknown command \"{0}\"";
        Unexpected "unexpected word \"{0}\"";
        UnexpectedCommand "unexpected word \"{0}\"; a command must be the first word";
        UnexpectedPath "unexpected word \"{0}\"; -c is for the path of a configuration";
        NeedsArgument "--{0} needs an argument: {1}";
        EmptyArgument "--{0} got an empty argument; expected {1}";
        NoArgument "the option {0} takes no argument";
        NotUnderstood "the words are not understood";
        Bad "--{0} got \"{1}\"; expected {2}";
        Targets "stderr, syslog or kmsg";
        Levels "error, warn, info, debug or trace";
        @cfg!(feature = "detach") =>
        LogDetached "--log stderr leads nowhere with -d, which closes it; expected syslog or kmsg";
        @SUGGEST =>
        MeantOption "{0} does not take the option \"{1}{2}\"; did you mean \"--{3}\"?";
        MeantCommand "unknown command \"{0}\"; did you mean \"{1}\"?";
        @HELP =>
        TryHelp "\ntry: dormouse --help";
        TryHelpOf "\ntry: dormouse help {0}";
        @NAMES =>
        NeedsName "{0} needs the NAME of a service, for example: dormouse {0} {1}";
        NeedsPath "{0} needs the PATH of a file, for example: dormouse {0} {1}";
        @NOTIFY =>
        Descriptor "the number of an open descriptor from 3, for example 3";
        @ACTIVATE =>
        NoProgram "no program to start; expected PROG after the options, for example: dormouse activate -l 8080 -a --inetd cat";
        EmptyProgram "PROG is empty; expected a program, for example /usr/sbin/httpd";
        NoAddress "no address to listen on; expected -l ADDR, for example -l 8080 or -l unix:/run/x.sock";
        AcceptKind
            "--accept needs connections, which a datagram socket or fifo does not have; leave out -a, or use tcp: or unix:";
        AcceptNow "--now and --accept exclude each other: without a connection there is nothing to hand over";
        AcceptOnce "--once and --accept exclude each other: --once becomes PROG, --accept starts one PROG per connection";
        InetdSockets "--inetd hands over one socket as descriptors 0 and 1, but there are more; give one -l, or add -a";
        InetdNames "--fdname has no meaning with --inetd, which passes no LISTEN_FDNAMES; leave out one of them";
        TwoKinds "--datagram and --seqpacket exclude each other; give the type per address, \
                  for example -l udp:53 -l seqpacket:/run/x";
        NamesCount "--fdname gives {0} names for {1} sockets; expected one name for all, or one per socket";
        // 255 is FD_NAME_BYTES.
        Names "names of 1 to 255 printable ASCII characters with colons between them, for example web:admin";
        Variable "NAME=VALUE, or NAME to pass it on";
        Port "a port or HOST:PORT, for example 127.0.0.1:8080";
        Fifo "a path from the root, for example fifo:/run/x.fifo";
        Path "a path from the root or @NAME, for example unix:/run/x.sock";
        @INETD =>
        Dialects "busybox, openbsd, freebsd, inetutils or xinetd";
        InetdNotTaken "inetd does not take the option \"{0}{1}\"\ntry: inetd --help";
        InetdDetach "going to the background and -p are not part of this build\ntry: inetd -f";
        InetdNumber "{0} got \"{1}\"; expected a number";
        InetdNeeds "{0} needs {1}";
    }
}

impl Say {
    /// Each text and its end.
    pub(super) const ALL: &[&str] = Self::PIECES;

    pub(super) fn text(self) -> &'static str {
        said(self as usize)
    }

    /// The text with its arguments as an error.
    pub(super) fn error(self, arguments: &[&str]) -> UsageError {
        UsageError { text: fill(self.text(), arguments) }
    }
}
