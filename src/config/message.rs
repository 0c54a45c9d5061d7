//! Every message of this station, in one table: what was found, what was expected, what to do.
//!
//! `{0}`, `{1}`, ... stand for arguments. A test asks for a golden case of each, so a message that nobody has seen
//! can't be added. Messages are for somebody who edits a file on a board at night: name the thing, tell the next step.

use super::fault::Severity;
use crate::packed::{self, packed, told};

/// One row of the table.
pub(super) struct Message {
    /// How bad it is.
    pub(super) severity: Severity,
    /// What was found.
    pub(super) message: &'static str,
    /// What was expected; may be empty.
    pub(super) expected: &'static str,
    /// What to do; may be empty.
    pub(super) hint: &'static str,
}

/// Texts of what a build leaves out are left out with it, and hints with the other help.
macro_rules! messages {
    ($(@$built:expr => $($code:ident: $severity:ident, $message:literal, $expected:literal, $hint:literal;)*)*
     => $(@$told:expr => $($reason:ident, $text:expr;)*)*) => {
        /// The messages by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the table tells what each is")]
        #[repr(u8)]
        pub enum Code { $($($code,)*)* }

        impl Code {
            /// Every message.
            pub const ALL: &'static [Self] = &[$($(Self::$code,)*)*];
        }

        /// Texts that are arguments of messages.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Reason { $($($reason,)*)* }

        /// A line for each message, then one for each reason.
        const LINES: &([u8; 1 << 15], usize) = &packed::join(&[&[
            $($(
                told($built, concat!(stringify!($severity), "\t", $message, "\t", $expected)),
                told($built && cfg!(feature = "help"), concat!("\t", $hint)),
                "\0",
            )*)*
            $($(told($told, $text), "\0",)*)*
        ]]);
    };
}

const TEXT: &str = packed::text(LINES);

packed! {
    PACKED (WHOLE) = TEXT, after crate::cli::WHOLE.2, Some(&crate::cli::PACKED); fn messages
}

impl Code {
    /// Its row.
    pub(super) fn row(self) -> Message {
        let mut parts = packed::nth(messages(), self as usize).split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let severity = if next() == "Error" { Severity::Error } else { Severity::Warning };
        Message { severity, message: next(), expected: next(), hint: next() }
    }
}

impl Reason {
    /// Its text.
    pub(super) fn text(self) -> &'static str {
        packed::nth(messages(), Code::ALL.len() + self as usize)
    }
}

messages! {
    @true =>
    // Words, quotes and escapes.
    OpenQuote: Error, "this quote has no end", "", "close it on the same line, or write \\\" for the character itself";
    LoneBackslash: Error, "a backslash at the end of a word escapes nothing", "", "write \\\\ for the character itself";
    BadEscape: Error, "\"{0}\" is not an escape",
        "\\a \\b \\f \\n \\r \\s \\t \\v \\\\ \\\" \\' \\xHH \\nnn \\uHHHH \\UHHHHHHHH, not NUL",
        "write \\\\ for a backslash";
    NotText: Error, "the escapes of this word do not make UTF-8 text", "", "use \\uHHHH for characters beyond ASCII";
    Specifier: Error, "\"{0}\" is a specifier of unit files, which mean nothing here",
        "", "write the text itself, or %% for a percent sign";
    // Plain values.
    NotBoolean: Error, "\"{0}\" is not a boolean", "yes, no, true, false, on, off, 1 or 0", "";
    NotAChoice: Error, "\"{0}\" is not one of the words for this directive", "", "";
    NotANumber: Error, "\"{0}\" is not a number", "", "";
    OutOfRange: Error, "{0} is out of range", "", "";
    BadSpan: Error, "\"{0}\" is not a time span",
        "a number with us, ms, s, min, h, d or w, sums such as 1min 30s; without unit: seconds", "";
    SpanLong: Error, "the time span \"{0}\" is too long", "", "";
    BadSize: Error, "\"{0}\" is not a size", "a number of bytes, or one with K, M, G or T (powers of 1024)", "";
    SizeBig: Error, "the size \"{0}\" is too large", "", "";
    BadMode: Error, "\"{0}\" is not a mode", "permission bits in octal, 0 to 7777, such as 0660", "";
    BadId: Error, "{0} can't be the number of a user or group", "0 to 4294967294, but not 65535", "";
    BadName: Error, "\"{0}\" can't be the name of a user or group",
        "one name or number, without blanks, quotes, commas, slashes or colons", "";
    BadWord: Error, "\"{0}\" does not fit here", "one word of 1 to {1} printable ASCII characters", "";
    BadFdName: Error, "\"{0}\" can't be the name of a descriptor",
        "1 to 255 printable ASCII characters without a colon", "";
    RelativePath: Error, "the path \"{0}\" is not absolute", "", "begin it with /";
    BadFolder: Error, "\"{0}\" can't be a folder here", "a relative path without .. and :", "";
    PathLong: Error, "this path has {0} bytes, {1} are possible", "", "";
    DotDot: Error, "the path \"{0}\" goes up by ..", "", "write where it leads to";
    BadVariable: Error, "\"{0}\" can't be the name of a variable", "letters, digits and _, with no digit first", "";
    NoAssignment: Error, "\"{0}\" sets no variable", "NAME=VALUE",
        "a value with blanks needs quotes round the whole: \"NAME=one two\"";
    SoftOverHard: Error, "the soft limit of \"{0}\" is above the hard one", "soft:hard with soft at most hard", "";
    BadSignal: Error, "\"{0}\" is not a signal", "a name such as SIGTERM or TERM, a number, or RTMIN+n", "";
    BadStatus: Error, "\"{0}\" is not an exit status",
        "0 to 255, a name such as TEMPFAIL, or a signal such as SIGKILL", "";
    BadCapability: Error, "\"{0}\" is not a capability",
        "names as in capabilities(7), such as CAP_NET_BIND_SERVICE", "";
    BadTos: Error, "\"{0}\" is not a type of service", "0 to 255, low-delay, throughput, reliability or low-cost", "";
    BadInput: Error, "\"{0}\" can't be standard input", "null, socket or file:/PATH", "";
    BadOutput: Error, "\"{0}\" can't be standard output or error",
        "inherit, null, socket, log, syslog, kmsg, file:/PATH, append:/PATH or truncate:/PATH", "";
    Journal: Error, "\"{0}\" needs systemd's journal or a console, which dormouse does not write to",
        "", "use log, syslog or kmsg";
    // Addresses.
    AbstractEmpty: Error, "an abstract socket needs a name after the @", "", "";
    UnixPathLong: Error, "this unix address has {0} bytes, the kernel takes {1}",
        "", "use a shorter path; /run is the usual place for sockets";
    BadVsock: Error, "\"{0}\" is not a vsock address", "vsock:CID:PORT, both numbers; an empty CID means any", "";
    VsockDatagram: Error, "vsock has no datagrams here", "", "use ListenStream=vsock:{0}";
    SequentialNotUnix: Error, "sequential packets exist for unix sockets only, not for \"{0}\"", "/path or @name",
        "use ListenStream= or ListenDatagram= for ports";
    BadAddress: Error, "the bracket of \"{0}\" is not closed", "[address]:port", "";
    BadIp: Error, "\"{0}\" is not an IP address",
        "an address such as 127.0.0.1 or [::1]; names of machines are not looked up", "";
    BadPort: Error, "\"{0}\" is not a port", "1 to 65535, or a name in /etc/services", "";
    NoPort: Error, "the address \"{0}\" has no port", "192.0.2.1:80 or [2001:db8::1]:80", "";
    NoBrackets: Error, "an IPv6 address needs brackets before its port", "[2001:db8::1]:80", "";
    BadScope: Error, "the interface of \"{0}\" is not clear", "[fe80::1]:80%eth0", "";
    BackendHost: Error, "\"{0}\" names a machine that is not in /etc/hosts",
        "an address such as 127.0.0.1:80 or [::1]:80, a port, /path or @name", "name servers are not asked";
    BackendVsock: Error, "\"{0}\" does not say which machine to connect to", "vsock:CID:PORT; the CID of the host is 2", "";
    BadPrefix: Error, "\"{0}\" is not a range of addresses",
        "ADDRESS, ADDRESS/LENGTH, any, localhost, link-local or multicast, with blanks between", "";
    BadPrefixLength: Error, "the length of \"{0}\" is not a number up to {1}",
        "ADDRESS/LENGTH, with blanks between several", "";
    PrefixRounded: Warning, "\"{0}\" has bits beyond its length; {1} is used", "", "";
    // The command line.
    NoProgram: Error, "\"{0}\" names no program", "", "";
    BadPrefixMark: Error,
        "\"{0}\" before a program asks for privileges that its service does not have; dormouse has no such mode",
        "- (a failure is fine), @ (the second word is argv[0]) or : (no variables)",
        "leave the mark out and set User=, AmbientCapabilities= and so on as needed";
    ProgramVariable: Error, "the program \"{0}\" can't come from a variable",
        "an absolute path or the plain name of a program",
        "only arguments may hold $NAME; begin the line with : to take $ as it is";
    BadProgram: Error, "\"{0}\" is not a program", "an absolute path or the plain name of a program", "";
    NoArgvZero: Error, "@ needs a word for argv[0] after \"{0}\"", "", "";
    TwoCommands: Error, "a service has one command; \";\" would begin a second",
        "", "write \\; for the character itself, or /bin/sh -c 'one; two'";
    ShellWord: Warning, "\"{0}\" is handed to the program as it is: there is no shell here",
        "", "/bin/sh -c 'COMMANDS' runs one; quotes round the word say that it is meant";
    HalfVariable: Error, "\"{0}\" begins with $ but is not the name of a variable to its end",
        "$NAME as a word, or ${NAME} anywhere", "write $$ for a dollar sign";
    StartVariable: Error, "{0} is different for each start, so it can't be put into the command line at load",
        "", "let the program read it from its environment: /bin/sh -c 'exec prog \"$$NAME\"'";
    // Directives.
    UnknownDirective: Error, "there is no directive \"{0}\"", "", "man 5 dormouse.conf lists all of them";
    NotCarriedOut: Error, "{0}= is a directive of systemd that dormouse does not carry out", "", "remove it";
    NoProtection: Error, "{0}= protects a service under systemd; dormouse can't do it",
        "", "remove it if the service may run without; User=, CapabilityBoundingSet= and NoNewPrivileges= are there";
    DirectiveNotInBuild: Error, "{0}= is not part of this build", "", "remove it, or build with all features";
    SetTwice: Warning, "{0}= was set before in this section; this line wins", "", "remove one of the lines";
    InDefaults: Error, "{0}= belongs to one service, not to [defaults]", "", "move it into the section of its service";
    CommentKept: Warning, "this is part of the value, with the blank before it",
        "", "a comment, or another address or directive, needs a line of its own";
    // Lines and sections.
    LineLong: Error, "this line has {0} bytes, continuation lines included; {1} are possible", "", "";
    ControlCharacter: Error, "this line has the control character {0}",
        "", "remove it, or write it as an escape where the directive takes quotes: \\n, \\t, \\x1b";
    NotALine: Error, "this line is neither a section nor a directive", "[name] or Directive=value",
        "a file of inetd or xinetd needs --dialect NAME; a comment begins with # or ;";
    NoDirective: Error, "there is nothing before the =", "Directive=value", "";
    OpenSection: Error, "the name of a section ends with ]", "[name] alone on its line",
        "a comment needs a line of its own";
    BadServiceName: Error, "\"{0}\" can't be the name of a service",
        "1 to {1} printable ASCII characters without blanks, : = [ or ]", "";
    BeforeSection: Error, "this directive stands before any section", "[name] of a service above it", "";
    UnitSection: Error, "[{0}] is a section of unit files, and this file is not one", "[name] of a service",
        "put the lines of the .socket and the .service file into one section that has the service's name";
    SectionTwice: Error, "there are two sections [{0}]", "", "join them, or give one another name";
    Include: Error, "there is no include",
        "", "put the files into a folder: -c FOLDER reads its *.conf in the order of their names";
    CarriageReturn: Warning, "the lines of this file end with CR LF", "", "sed -i 's/\\r$//' makes them plain";
    // Files.
    FileMissing: Error, "can't be read: {0}", "", "";
    FileBig: Error, "this file has more than the {0} bytes that are possible", "", "";
    FileNul: Error, "this line has a NUL byte, so the file is not text", "", "";
    FileNotUtf8: Error, "this line is not UTF-8", "", "iconv -t UTF-8 converts the file";
    FileWritable: Warning, "anybody may write here, and so decide what is run",
        "", "chmod o-w; it should belong to root";
    LocalNotInBuild: Error, "\"{0}\" is no address of the internet; others are not part of this build", "", "";
    NotInBuild: Error, "reading {0} is not part of this build",
        "", "write its services in the native form, or build with all features";
    FolderEmpty: Warning, "this folder has no file that ends in .conf, .socket, .inetd or .xinetd", "", "";
    NoService: Warning, "no service is configured", "", "a section begins with its name: [name]";
    @cfg!(feature = "units") =>
    UnknownSpecifier: Warning, "systemd has no specifier \"{0}\"; it stays as it is", "", "write %% for a percent sign";
    ConnectionSpecifier: Error, "\"{0}\" would be another one for each connection, which only ExecStart= can be",
        "", "the program finds its client in REMOTE_ADDR and REMOTE_PORT";
    SpecifierValue: Error, "\"{0}\" stands for nothing: {1}", "", "write the text itself";
    StrangeSection: Warning, "a .{1} file has no section [{0}]; it is left out",
        "", "systemd leaves it out as well; one that begins with X- is meant for others";
    StrangeSetting: Warning, "[{1}] of a .{2} file has no {0}=; it is left out", "", "systemd leaves it out as well";
    UnitMasked: Warning, "this unit is masked: a link to /dev/null", "", "";
    UnitNoSocket: Error, "this service has no {0}", "", "name the .socket file that starts it";
    UnitTemplate: Error, "this is a template", "an instance of it: {0}@NAME.socket", "";
    UnitNoService: Error, "{0} would start {1}, which is not there", "", "put it beside the socket";
    UnitNoSockets: Warning, "{0} is left out: dormouse can't open {1}", "", "";
    UnitUnprotected: Warning, "[{0}] is less protected than under systemd: dormouse can't do {1}",
        "", "User=, CapabilityBoundingSet=, NoNewPrivileges= and RootDirectory= are there";
    UnitLost: Warning, "[{0}] asks for what dormouse does not do: {1}", "", "the service runs without";
    UnitType: Warning, "Type={0}: {1}", "", "";
    UnitCommands: Error, "[{0}] has {1} commands to run one after the other; dormouse starts one",
        "", "put them into one script";
    UnitPrivileges: Warning,
        "{0} before the program asks for all privileges, so User=, Group= and SupplementaryGroups= do not hold", "", "";
    UnitStream: Warning, "there is no \"{0}\" here; {1} takes its place", "", "";
    DynamicUser: Warning, "DynamicUser= makes up the user \"{0}\" under systemd; here the service runs as nobody",
        "", "a user \"{0}\" in /etc/passwd keeps it apart from other services";
    @cfg!(feature = "xinetd") =>
    XinetdLine: Warning, "this line is no attribute, so its service is left out",
        "NAME = VALUES with blanks on both sides of the sign; += and -= where values are collected", "";
    XinetdOutside: Error, "this line does not belong here",
        "service NAME, defaults, include FILE or includedir FOLDER; then { and } alone on their lines", "";
    XinetdOpen: Error, "the last block of this file has no end", "} alone on its line", "";
    XinetdDepth: Error, "this file is left out: it is included more than {0} deep, or as one of more than {1}", "", "";
    XinetdFolder: Error, "the folder {0} can't be read", "", "";
    XinetdTwice: Warning, "{0} is here a second time; the first line counts", "", "remove one of them";
    XinetdUnknown: Warning, "xinetd has no attribute {0}; it is left out", "", "";
    XinetdLost: Warning, "{0} is not carried out", "", "";
    XinetdDatagram: Warning,
        "wait = no starts one program after the other for the same datagram; it is read as wait = yes", "", "";
    XinetdHost: Warning, "names are not looked up, so only_from does not let {0} in", "", "write its address";
    XinetdLeftOut: Warning, "[{0}] is left out: {1}", "", "";
    @cfg!(feature = "inetd") =>
    InetdReading: Warning, "{0}: the dialects of inetd.conf disagree: {1}; taken here: {2}",
        "", "--dialect NAME says which one is meant";
    InetdFields: Error, "too few fields in this line: {0}",
        "service, type of socket, protocol, wait or nowait, user, program, arguments", "";
    InetdSocketType: Error, "\"{0}\" is not a type of socket", "stream or dgram; with unix also seqpacket", "";
    InetdProtocol: Error, "\"{0}\" is not a protocol of {1}", "{2}", "--dialect NAME reads another inetd's file";
    InetdBuffer: Error, "\"{0}\" behind the protocol is no size of a buffer", "rcvbuf=BYTES or sndbuf=BYTES, with k or m", "";
    InetdMismatch: Error, "a {0} socket can't have the protocol {1}", "stream with tcp, dgram with udp", "";
    InetdRpc: Error, "RPC services need a portmapper, which dormouse does not talk to",
        "", "give the program a port of its own, or let it run without dormouse";
    InetdWait: Error, "\"{0}\" is not a wait flag of {1}",
        "{2}", "FreeBSD hangs a number on with /, the others with a dot; --dialect NAME says whose file it is";
    InetdNoStart: Error, "\"{0}\" lets nothing start at all", "", "leave the number out for no limit";
    InetdAddress: Error, "\"{0}\" is neither an address nor a name in /etc/hosts",
        "", "write the address, or * for all";
    InetdProgram: Error, "\"{0}\" is not the full path of a program", "a path from the root, or internal", "";
    InetdInternal: Error, "{0} is not built in",
        "echo, discard, chargen, daytime or time over tcp and udp, or tcpmux over tcp", "";
    InetdInternalWait: Error, "{0} with internal is always {1}", "", "";
    InetdMux: Error, "what tcpmux serves is stream, tcp and nowait", "", "";
    InetdClass: Warning, "the login class {0} is not carried out", "", "set Limit...= in the native form";
    InetdPolicy: Warning, "an IPsec policy is not carried out", "", "set it up in the kernel: ip xfrm policy";
    InetdTwice: Warning, "{0} is here a second time; the first line counts", "", "remove one of them";
    @true =>
    // Within a service.
    NoListen: Error, "[{0}] has no socket",
        "", "add ListenStream=, ListenDatagram=, ListenSequentialPacket= or ListenFIFO=";
    NoExecStart: Error, "[{0}] has no program", "", "add ExecStart=";
    ServiceAccept: Error, "Service= can't be used with Accept=yes",
        "", "each connection starts the program of its own section";
    ServiceUnknown: Error, "Service={0}: there is no section [{0}] with a program", "", "";
    ServiceSetting: Error, "{0}= belongs into [{1}], the section with the program", "", "";
    OwnPort: Warning,
        "[{0}] gets the socket of {1}, and its command line names the same: a program that opens it by itself finds it \
         in use",
        "",
        "right where the program looks for it among LISTEN_FDS, as puma does; one that takes no sockets needs ConnectTo=";
    InternalProgram: Error, "a service with Internal= has no program", "", "remove ExecStart= or Internal=";
    InternalKind: Error,
        "Internal={0} has no use for this socket", "ListenStream=, or for all but tcpmux ListenDatagram=", "";
    ForwardOther: Error,
        "{0} can't be together with ConnectTo=: connections are forwarded, and no program gets a socket",
        "", "remove one of them";
    ForwardKind: Error, "this socket has no connections to forward, but the service has ConnectTo=",
        "only ListenStream=", "move it to a service of its own";
    ForwardSelf: Error, "ConnectTo= leads back to the service itself",
        "", "the backend needs a port of its own; tell its program too";
    ForwardNothing: Error, "SendProxyV2= is for the backend of ConnectTo=, and there is none", "", "remove it";
    InstanceAccept: Error, "%i and %I are the name of a connection, and [{0}] accepts none",
        "Accept=yes, with sockets that have connections", "write %%i for the text itself";
    AcceptKind: Error, "this socket has no connections to accept, but the service has Accept=yes",
        "only ListenStream= and ListenSequentialPacket=, or ListenDatagram= with ReusePort=yes",
        "move it to a service of its own with Accept=no";
    OneSocket: Error, "{0} needs exactly one socket when Accept=no, but [{1}] has {2}",
        "", "leave it out and let the program take descriptors 3 and up (LISTEN_FDS), or split the service";
    BothWaysInput: Error, "BothWays=yes puts the socket on descriptor 0, but StandardInput= is something else",
        "", "remove one of them";
    SymlinksOne: Error, "Symlinks= needs exactly one unix socket or FIFO with a path, but [{0}] has {1}", "", "";
    AllowPeers: Error,
        "{0}= can only tell who is at the other end of a unix socket with Accept=yes or ConnectTo=, so it \
         would not hold for all of [{1}]",
        "", "remove it, or serve only unix sockets, with one of these";
    AllowWithoutDeny: Warning, "IPAddressAllow= alone keeps nobody out",
        "", "add IPAddressDeny=any to let only these in";
    NoEffect: Warning, "{0}= has no effect: {1}", "", "remove it";
    SleepAccept: Error,
        "{0}= is for a service that goes on running, but with Accept=yes each process ends with its connection",
        "Accept=no, where StopWhenIdleSec= and StopWhenQuietSec= mean the one process of the service",
        "remove it; RuntimeMaxSec= ends connections that last too long";
    IdleSockets: Error, "StopWhenIdleSec= counts connections, which {0} of [{1}] does not have or does not show",
        "TCP and unix sockets with ListenStream= or ListenSequentialPacket=",
        "use StopWhenQuietSec=, which looks at CPU time";
    SameAddress: Error, "{0} of [{1}] collides with {2} of [{3}]",
        "", "remove one; ReusePort=yes in both would let them share the traffic";
    SameName: Error, "{0} of [{1}] collides with {2} of [{3}]", "", "remove one";
    Overlap: Warning, "{0} of [{1}] collides with {2} of [{3}] unless net.ipv6.bindv6only is 1",
        "", "BindIPv6Only=ipv6-only where the IPv6 socket is keeps the two apart";
    TooMany: Error, "there are {0} {1}, this build has room for {2}",
        "", "build with {3}={0} in the environment, see src/limits.rs";
    TooManyWords: Error, "{2}= has {0} words, {1} are possible", "", "";
    // The plan: what this machine lacks, and what does not fit.
    NoUser: Error, "{0}={1}: there is no such user",
        "a user of /etc/passwd, or a number; with User= one that is not in there needs Group=", "";
    NoGroup: Error, "{0}={1}: there is no such group", "a group of /etc/group, or a number", "";
    NoPortName: Error, "there is no {0} service {1} in /etc/services", "", "write the port as a number";
    NoInterface: Error, "the link-local address {0} needs its interface", "", "write it as [{0}%eth0]:port";
    ProgramMissing: Warning, "the program {0} is not there, or cannot be executed",
        "", "install it, or mend the path; clients wait until it is there";
    ProgramUnknown: Error, "the program {0} is not there, or cannot be executed",
        "", "install it, or give its full path";
    ProgramWritable: Warning, "anybody may write to {0}, which runs as root", "", "chmod o-w; it should belong to root";
    ChildrenFew: Warning, "there is room for {0} processes of all services together",
        "", "a build with a larger DORMOUSE_CHILDREN has room for more";
    TwoLogs: Error, "standard output and standard error go to two different logs",
        "", "set StandardOutput= and StandardError= to the same one";
    BadLoad: Error, "\"{0}\" is not a load", "a number above 0 with at most two digits behind the point", "";
    OwnVariable: Error, "{0}= is set by dormouse itself for each start",
        "", "remove it here; env(1) before the program can set it or take it out";
    VariablesMissing: Warning, "the environment file {0} is missing; the service does not start until it is there",
        "", "a - before the path lets the file be missing";
    VariablesFile: Error, "the environment file {0} cannot be read: {1}",
        "", "a - before the path lets the file be missing";
    VariablesLine: Warning, "line {0} of {1} is not an assignment; such lines are left out",
        "NAME=VALUE, where the name is made of letters, digits and _", "systemd leaves them out as well";
    HoldsNul: Error, "{0}= cannot hold a NUL", "", "";
    GroupsMany: Error, "the program would have {0} groups", "at most {1} (DORMOUSE_GROUPS at build time)", "";
    ValueLong: Error, "{0}= is too long", "", "";
    InstanceLong: Error, "with the names of connections the command line may have {0} bytes",
        "at most {1}", "use %i less often, or let the program read REMOTE_ADDR and REMOTE_PORT";
    FdNamesLong: Error, "LISTEN_FDNAMES would have {0} bytes", "at most {1}: a shorter name, or fewer sockets", "";
    FilterLong: Error, "the address lists need a filter of {0} instructions; the kernel takes {1}",
        "", "join neighbouring prefixes, or use a packet filter such as nftables";
    TextsLong: Error, "the texts of all services need more than {0} bytes",
        "", "use fewer or shorter services, or build with a larger DORMOUSE_ARENA_BYTES";
    =>
    @true =>
    // Hints.
    ListenForms, "ListenStream=80 is TCP on all addresses, ListenDatagram=53 is UDP, /run/x a unix socket; one address a line";
    Script, "what it needs first can stand in a script that ends in exec PROGRAM";
    DefaultsName, "what holds for all sections after it is [defaults]";
    NoComment, "a comment needs a line of its own; here it is part of the value";
    NoQuotes, "leave the quotes out; here they are part of the value";
    // Why the sockets of a service leave a directive without effect.
    NoPath, "the service has no unix socket or FIFO with a path";
    NoTcp, "the service has no TCP socket";
    NoIp, "the service has no IP socket";
    NoUnix, "the service has no unix socket";
    NoDatagram, "the service has no datagram socket";
    NoConnections, "the service has no socket with connections";
    NoAccept, "it counts connections, which dormouse sees only with Accept=yes or ConnectTo=";
    NoProgramSet, "the service has no program";
    NoCompanion, "there is no {0}=";
    Keeps, "KillMode=none keeps the processes";
    OfOwner, "it holds for the service as a whole and is taken from [{0}]";
    NoStop, "nothing stops the service: it has none of StopWhenIdleSec=, StopWhenQuietSec= and EvictUnderPressure=";
    Accepts, "with Accept=yes each process belongs to its connection and ends with it";
    @cfg!(feature = "suggest") =>
    Aliases, super::suggest::ALIASES;
    @cfg!(feature = "units") =>
    TypeForking, "in the background it counts as running only while it holds its socket; keep it in the foreground";
    TypeDbus, "it counts as started at once, not when its name is on the bus";
    TypeUnknown, "there is no such type";
    NoCgroups, "dormouse makes no control groups";
    NoCredentials, "dormouse hands over no credentials";
    NoPrettyName, "dormouse does not look for a pretty name of the machine";
    NoFile, "its file can't be read";
    @cfg!(feature = "xinetd") => // why a service is left out
    Rpc, "RPC needs a portmapper";
    Flags, "its flags ask for what dormouse does not do";
    WaitMissing, "wait has to be yes or no";
    NoSuchType, "there is no such socket_type";
    TypeMissing, "socket_type is missing";
    PortMissing, "port is missing";
    ProtocolOther, "its protocol does not fit its socket_type";
    NotBuiltIn, "there is no built-in service for it";
    NotForwarded, "redirect is not part of this build";
    ServerMissing, "server is missing";
    UserMissing, "user is missing";
    NameInArgs, "NAMEINARGS needs server_args";
    AccessName, "no_access has a name that no filter can tell";
    LineBroken, "a line of it is broken";
    IdTwice, "there is another one of this id";
    ValueWrong, "a value is wrong";
    IdBad, "its id can't be the name of a service";
    @cfg!(feature = "inetd") => // what a dialect expects
    ProtocolsBusybox, "tcp, udp, tcp6, udp6 or unix";
    ProtocolsBsd, "tcp or udp, alone or with 4, 6 or 46, or unix";
    ProtocolsInetutils, "tcp or udp, alone or with 4, 6, 6only or 46";
    WaitFreebsd, "wait, nowait, nowait/CHILDREN[/RATE[/CHILDREN-PER-SOURCE]]";
    WaitOthers, "wait, nowait, wait.STARTS or nowait.STARTS (starts a minute)";
    // Something, then what busybox, openbsd, freebsd and inetutils make of it.
    ReadPlain, "tcp and udp without a digit|IPv4|IPv4 and IPv6|IPv4|IPv4";
    ReadSix, "tcp6 and udp6|IPv6 with IPv4|IPv6 alone|IPv6 alone|IPv6 with IPv4";
    ReadHash, "# within a line|the line ends there|text|text|text";
    ReadContinuation, "a line that begins with a blank|an entry|part of the line before|part of the line before|an entry";
    ReadBackslash, "a backslash at the end of a line|the next line belongs to it|text|text|text";
    ReadQuotes, "quotes|text|text|quotes at the beginning of a word|quotes";
    ReadManyArguments, "more than 20 arguments|the rest becomes one|the rest is left out|the line is refused|all are passed";
    ReadNoArguments, "a program without arguments|argv[0] is its path|argv[0] is its path|argv[0] is its name|argv[0] is its name";
    ReadDatagramNowait, "dgram with nowait|a process for each peer|a process for each datagram|wait|a process for each datagram";
}
