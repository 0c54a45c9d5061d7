//! The directive table: one row for each directive, in the order of the manual and of `--print`.
//!
//! Help lines are shown to users by `explain` and the man page, so each says what the directive does, in which unit and
//! range. Names and meaning are systemd's own unless the group is [`Group::New`].

use super::address::Kind;
use super::directive::{Directive, Group, Syntax, Unit};
use crate::limits;

/// Makes [`Id`], [`TABLE`] and [`NAMES`] from one list, so that the number of a directive is the number of its row.
/// Before rows stand the group that they belong to, and whether this build has them.
macro_rules! directives {
    ($(@$group:ident, $built:expr => $($id:ident: $syntax:expr, $default:literal, $help:literal;)*)*) => {
        /// The directives by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, clippy::upper_case_acronyms, reason = "named as in systemd; the table tells the rest")]
        #[repr(u8)]
        pub enum Id { $($($id,)*)* }

        impl Id {
            /// Every directive, in the order of the table.
            pub const ALL: &'static [Self] = &[$($(Self::$id,)*)*];
        }

        /// One row for each directive, in the order of [`Id`].
        pub(super) static TABLE: [Directive; Id::ALL.len()] = [$($(Directive {
            group: Group::$group,
            syntax: &$syntax,
            later: !$built,
        },)*)*];

        /// A line for each: its name, a blank, its default.
        pub(super) const NAMES: &str = concat!($($(stringify!($id), " ", $default, "\n",)*)*);

        /// A line about each, apart from the rows: a program that never shows them does not carry them.
        static HELP: [&str; Id::ALL.len()] = [$($($help,)*)*];
    };
}

/// The widest count that the kernel or systemd keeps in 32 bits.
const COUNT: Syntax = Syntax::Uint(0, u32::MAX);
/// Any time span.
const SPAN: Syntax = Syntax::Span(u32::MAX);
/// The longest time that tcp(7) keeps for its probes: 32767 s.
const PROBE: Syntax = Syntax::Span(32_767);
/// A socket buffer: the kernel takes an int.
const BUFFER: Syntax = Syntax::Size(i32::MAX as u32);
/// A resource limit that counts things.
const COUNTED: Syntax = Syntax::Limit(Unit::Count);
/// A resource limit in bytes.
const BYTES: Syntax = Syntax::Limit(Unit::Bytes);

/// The name of a service.
#[allow(clippy::cast_possible_truncation, reason = "the next line")]
const NAME_BYTES: u8 = limits::SERVICE_NAME_BYTES as u8;
const _: () = assert!(limits::SERVICE_NAME_BYTES <= u8::MAX as usize);

directives! {
    @Sockets, true =>
    ListenStream: Syntax::Listen(Kind::Stream), "",
        "Listens for connections: port, v4:port, [v6]:port, /path, @abstract or vsock:cid:port. Each line \
         adds a socket; an empty value takes back all sockets.";
    ListenDatagram: Syntax::Listen(Kind::Datagram), "",
        "Receives datagrams: port, v4:port, [v6]:port, /path or @abstract. Each line adds a socket.";
    @Sockets, cfg!(feature = "local") =>
    ListenSequentialPacket: Syntax::Listen(Kind::SequentialPacket), "",
        "Listens for SOCK_SEQPACKET connections: /path or @abstract. Each line adds a socket.";
    ListenFIFO: Syntax::Listen(Kind::Fifo), "",
        "Opens the FIFO at an absolute path and makes it when it is missing. Each line adds one.";
    @Sockets, true =>
    BindIPv6Only: Syntax::Choice("default both ipv6-only"), "default",
        "Whether an IPv6 socket takes IPv4 clients as well: default (what the kernel is set to), both or \
         ipv6-only.";
    Backlog: COUNT, "4294967295",
        "Connections that may wait to be accepted, 0 to 4294967295; the kernel lowers it to net.core.somaxconn.";
    BindToDevice: Syntax::Word(15), "",
        "Takes traffic of this network interface only.";
    @Sockets, cfg!(feature = "local") =>
    SocketUser: Syntax::Name, "",
        "Owner of the unix sockets and FIFOs, a name or number; alone, it sets that user's group too.";
    SocketGroup: Syntax::Name, "",
        "Group of the unix sockets and FIFOs, a name or number.";
    SocketMode: Syntax::Mode, "0666",
        "Permission bits of the unix sockets and FIFOs, in octal.";
    DirectoryMode: Syntax::Mode, "0755",
        "Permission bits, in octal, of the folders that are made for unix sockets and FIFOs.";
    RemoveOnStop: Syntax::Bool, "no",
        "Removes unix sockets, FIFOs and symlinks from the file system when the socket is closed for good.";
    Symlinks: Syntax::Paths, "",
        "Absolute paths of symlinks to the unix socket or FIFO; needs exactly one of them.";
    @Sockets, true =>
    Accept: Syntax::Bool, "no",
        "yes: a new process for each connection, and for each peer of a datagram socket with ReusePort=yes. \
         no: one process gets the listening sockets.";
    Service: Syntax::Word(NAME_BYTES), "",
        "The section whose service gets these sockets beside its own; needs Accept=no.";
    FileDescriptorName: Syntax::FdName, "",
        "The name of the sockets in LISTEN_FDNAMES: up to 255 printable ASCII characters without a colon; unset: \
         SERVICE.socket, or connection with Accept=yes.";
    MaxConnections: COUNT, "",
        "Connections served at a time with Accept=yes or ConnectTo=; more are closed at once. Unset: as many as there is room for, \
         and more wait.";
    MaxConnectionsPerSource: COUNT, "",
        "Connections served at a time for one address or user with Accept=yes or ConnectTo=; unset: no limit of its own.";
    KeepAlive: Syntax::Bool, "no",
        "Sends TCP keep-alive probes, so that dead clients are noticed.";
    KeepAliveTimeSec: PROBE, "",
        "Idle time before the first keep-alive probe, 0 to 32767 s; unset or 0: what the kernel is set to.";
    KeepAliveIntervalSec: PROBE, "",
        "Time between keep-alive probes, 0 to 32767 s; unset or 0: what the kernel is set to.";
    KeepAliveProbes: Syntax::Uint(0, 127), "",
        "Unanswered keep-alive probes until a connection is dead, 0 to 127; unset or 0: what the kernel is set to.";
    NoDelay: Syntax::Bool, "no",
        "Sends small TCP segments at once (TCP_NODELAY).";
    DeferAcceptSec: PROBE, "",
        "Reports a TCP connection only when its first data, or its end, is there, or after this time, 0 to 32767 s.";
    Priority: Syntax::Uint(0, i32::MAX as u32), "",
        "Priority of what is sent (SO_PRIORITY), 0 to 2147483647; over 6 needs CAP_NET_ADMIN.";
    ReceiveBuffer: BUFFER, "",
        "Receive buffer of each socket in bytes, up to 2147483647; K, M and G are powers of 1024.";
    SendBuffer: BUFFER, "",
        "Send buffer of each socket in bytes, up to 2147483647; K, M and G are powers of 1024.";
    IPTOS: Syntax::Tos, "",
        "Type of service of IPv4 packets: 0 to 255, low-delay, throughput, reliability or low-cost.";
    IPTTL: Syntax::Uint(1, 255), "",
        "Time to live or hop limit of packets, 1 to 255.";
    Mark: COUNT, "",
        "Firewall mark of packets (SO_MARK), 0 to 4294967295; needs CAP_NET_ADMIN.";
    ReusePort: Syntax::Bool, "no",
        "Lets several sockets bind the same port and share its traffic (SO_REUSEPORT).";
    FreeBind: Syntax::Bool, "no",
        "Binds an address that this machine does not have yet (IP_FREEBIND).";
    Transparent: Syntax::Bool, "no",
        "Binds addresses of other machines for a transparent proxy (IP_TRANSPARENT); needs CAP_NET_ADMIN.";
    Broadcast: Syntax::Bool, "no",
        "Lets datagram sockets send to broadcast addresses (SO_BROADCAST).";
    @Sockets, cfg!(feature = "local") =>
    PassCredentials: Syntax::Bool, "no",
        "Lets a unix socket receive the credentials of the sender (SO_PASSCRED).";
    @Sockets, true =>
    PassPacketInfo: Syntax::Bool, "no",
        "Lets datagram sockets receive the address each packet was sent to (IP_PKTINFO).";
    TCPCongestion: Syntax::Word(15), "",
        "TCP congestion control algorithm, a name in net.ipv4.tcp_available_congestion_control.";
    NonBlocking: Syntax::Bool, "no",
        "Hands over descriptors from 3 on with O_NONBLOCK set.";
    FlushPending: Syntax::Bool, "no",
        "Throws away what waits in the sockets when the service has ended.";
    TriggerLimitIntervalSec: SPAN, "2s",
        "Interval of TriggerLimitBurst=; 0: no such limit.";
    TriggerLimitBurst: COUNT, "",
        "Starts in one interval before the service rests until it is over; 0: no such limit; unset: none with \
         Accept=yes, 20 without.";
    PollLimitIntervalSec: SPAN, "2s",
        "Interval of PollLimitBurst=; 0: no such limit.";
    PollLimitBurst: COUNT, "",
        "Knocks in one interval, refused ones included, before the service rests until it is over; 0 or unset: \
         no such limit.";
    @Access, cfg!(feature = "access") =>
    IPAddressAllow: Syntax::Prefixes, "",
        "Sources that are let in although IPAddressDeny= names them: address[/length], any, localhost, \
         link-local, multicast.";
    IPAddressDeny: Syntax::Prefixes, "",
        "Sources that are turned away: address[/length], any, localhost, link-local, multicast.";
    @New, cfg!(feature = "access") =>
    AllowUsers: Syntax::Names, "",
        "Users who may connect to a unix socket with Accept=yes or ConnectTo=, names or numbers; with AllowGroups= unset as well: \
         everybody.";
    AllowGroups: Syntax::Names, "",
        "Effective groups of clients that may connect to a unix socket with Accept=yes or ConnectTo=, names or numbers; one match, \
         here or in AllowUsers=, is enough.";
    @Service, true =>
    ExecStart: Syntax::Command, "",
        "The program and its arguments; a bare program name is looked up in the standard folders. With Accept=yes %i \
         is the name of the connection: its number, our address and the client's, as under systemd.";
    User: Syntax::Name, "",
        "The user that the program runs as, a name or number; unset: the user of dormouse.";
    Group: Syntax::Name, "",
        "The group that the program runs as, a name or number; unset: the group of User=.";
    SupplementaryGroups: Syntax::Names, "",
        "Further groups of the program, names or numbers.";
    WorkingDirectory: Syntax::Directory, "",
        "Folder the program starts in, an absolute path or ~ (home of User=); a leading - lets it be missing.";
    @Service, cfg!(feature = "exec") =>
    RootDirectory: Syntax::Path, "",
        "Folder that becomes the program's root, an absolute path (chroot).";
    RuntimeDirectory: Syntax::Folders, "",
        "Folders below /run (XDG_RUNTIME_DIR of an ordinary user) that are made for User= before each start, and stay; \
         RUNTIME_DIRECTORY names them.";
    RuntimeDirectoryMode: Syntax::Mode, "0755",
        "Permission bits, in octal, of the folders of RuntimeDirectory=.";
    StateDirectory: Syntax::Folders, "",
        "Folders below /var/lib that are made for User= before each start; STATE_DIRECTORY names them.";
    StateDirectoryMode: Syntax::Mode, "0755",
        "Permission bits, in octal, of the folders of StateDirectory=.";
    CacheDirectory: Syntax::Folders, "",
        "Folders below /var/cache that are made for User= before each start; CACHE_DIRECTORY names them.";
    CacheDirectoryMode: Syntax::Mode, "0755",
        "Permission bits, in octal, of the folders of CacheDirectory=.";
    LogsDirectory: Syntax::Folders, "",
        "Folders below /var/log that are made for User= before each start; LOGS_DIRECTORY names them.";
    LogsDirectoryMode: Syntax::Mode, "0755",
        "Permission bits, in octal, of the folders of LogsDirectory=.";
    @Service, true =>
    UMask: Syntax::Mode, "0022",
        "Permission bits, in octal, that new files of the program do not get.";
    @Service, cfg!(feature = "exec") =>
    Nice: Syntax::Int(-20, 19), "",
        "Scheduling priority, -20 (first) to 19 (last).";
    OOMScoreAdjust: Syntax::Int(-1000, 1000), "",
        "How soon the kernel kills the program when memory is short, -1000 (never) to 1000 (first).";
    @Service, true =>
    Environment: Syntax::Assignments, "",
        "Variables for the program: NAME=VALUE words, quoted where they hold blanks.";
    @Service, cfg!(feature = "exec") =>
    EnvironmentFile: Syntax::EnvironmentFile, "",
        "Absolute path of a file with NAME=VALUE lines, * and ? in its name for several; a leading - lets it be missing. \
         Without it the service does not start before the file is there.";
    @Service, true =>
    PassEnvironment: Syntax::Variables, "",
        "Names of variables that are passed on from dormouse's own environment.";
    UnsetEnvironment: Syntax::Unset, "",
        "Variables, NAME or NAME=VALUE, that are taken out at the very end.";
    StandardInput: Syntax::Input, "",
        "Descriptor 0: null, socket or file:PATH; unset: socket with Accept=yes, null without.";
    StandardOutput: Syntax::Output, "",
        "Descriptor 1: inherit (from 0), null, socket, log, syslog, kmsg, file:PATH, append:PATH or \
         truncate:PATH; unset: socket with Accept=yes, the log without.";
    StandardError: Syntax::Output, "",
        "Descriptor 2: inherit (from 1), null, socket, log, syslog, kmsg, file:PATH, append:PATH or \
         truncate:PATH; unset: the log.";
    SyslogIdentifier: Syntax::Word(64), "",
        "The name before each line in syslog and kmsg; unset: the program's name.";
    @Service, cfg!(feature = "exec") =>
    LimitCPU: Syntax::Limit(Unit::Seconds), "",
        "CPU time, soft[:hard], a time span in seconds or infinity.";
    LimitFSIZE: BYTES, "",
        "Largest file that may be written, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitDATA: BYTES, "",
        "Data segment, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitSTACK: BYTES, "",
        "Stack, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitCORE: BYTES, "",
        "Core file, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitRSS: BYTES, "",
        "Resident memory, soft[:hard] in bytes (K, M, G, T) or infinity; Linux ignores it.";
    LimitNOFILE: COUNTED, "",
        "Open descriptors, soft[:hard] or infinity.";
    LimitAS: BYTES, "",
        "Address space, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitNPROC: COUNTED, "",
        "Processes of the user, soft[:hard] or infinity.";
    LimitMEMLOCK: BYTES, "",
        "Memory that may be locked, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitLOCKS: COUNTED, "",
        "File locks, soft[:hard] or infinity; Linux ignores it.";
    LimitSIGPENDING: COUNTED, "",
        "Queued signals of the user, soft[:hard] or infinity.";
    LimitMSGQUEUE: BYTES, "",
        "POSIX message queues of the user, soft[:hard] in bytes (K, M, G, T) or infinity.";
    LimitNICE: Syntax::Limit(Unit::Nice), "",
        "Best nice level that may be asked for, soft[:hard], -20 to +19 with sign, or the raw limit 0 to 40.";
    LimitRTPRIO: COUNTED, "",
        "Highest real-time priority, soft[:hard], 0 to 99, or infinity.";
    LimitRTTIME: Syntax::Limit(Unit::Microseconds), "",
        "CPU time of a real-time thread without a blocking call, soft[:hard], a time span in microseconds \
         or infinity.";
    NoNewPrivileges: Syntax::Bool, "no",
        "The program and what it starts can never gain privileges by execve (PR_SET_NO_NEW_PRIVS).";
    CapabilityBoundingSet: Syntax::Capabilities, "",
        "Capabilities that the program can ever have; a leading ~ means all but these; unset: all.";
    AmbientCapabilities: Syntax::Capabilities, "",
        "Capabilities that the program has although it does not run as root; a leading ~ means all but these.";
    @Service, true =>
    KillSignal: Syntax::Signal, "SIGTERM",
        "The signal that asks the service to end, a name or number.";
    KillMode: Syntax::Choice("control-group mixed process none"), "control-group",
        "Who is signalled at a stop: control-group (all in its session), mixed (KillSignal= to the main process, \
         SIGKILL to all), process (the main one), none.";
    SendSIGKILL: Syntax::Bool, "yes",
        "Sends SIGKILL to what is left after TimeoutStopSec=.";
    TimeoutStopSec: Syntax::Timeout, "90s",
        "Time between KillSignal= and SIGKILL; 0 or infinity: waits for ever.";
    RuntimeMaxSec: Syntax::Timeout, "infinity",
        "Longest time the service may run before it is stopped; 0 or infinity: no limit.";
    Restart: Syntax::Choice("no always on-success on-failure on-abnormal on-abort"), "no",
        "When a service with Accept=no is started again without waiting for traffic: no, always, \
         on-success, on-failure, on-abnormal or on-abort.";
    RestartSec: SPAN, "100ms",
        "Pause before Restart= starts the service again.";
    StartLimitIntervalSec: SPAN, "10s",
        "Interval of StartLimitBurst=; 0: no such limit.";
    StartLimitBurst: COUNT, "5",
        "Failed starts in one interval before the service rests until it is over; 0: no such limit.";
    @Service, cfg!(feature = "notify") =>
    NotifyAccess: Syntax::Choice("none main exec all"), "none",
        "Whose messages on NOTIFY_SOCKET count (STOPPING=1: clients wait for the next instance): none, main or exec \
         (the main process), all (the whole session).";
    @Service, true =>
    SuccessExitStatus: Syntax::ExitStatuses, "",
        "Exit statuses (numbers or names such as TEMPFAIL) and signals that count as a clean end, besides \
         0, SIGHUP, SIGINT, SIGTERM and SIGPIPE.";
    @New, true =>
    BothWays: Syntax::Bool, "no",
        "Hands the socket over on descriptor 0 and on descriptor 3 with LISTEN_FDS; needs exactly one socket.";
    @New, cfg!(feature = "internal") =>
    Internal: Syntax::Choice("echo discard daytime time chargen tcpmux"), "",
        "A small service that is built in, instead of a program: echo, discard, daytime, time, chargen or tcpmux \
         (which serves the sections named tcpmux/NAME).";
    @New, cfg!(feature = "idle") =>
    StopWhenIdleSec: SPAN, "infinity",
        "Stops the service when it has had no connection, accepted, queued or half closed, for this time; with \
         StopWhenQuietSec= both must hold.";
    StopWhenQuietSec: SPAN, "infinity",
        "Stops the service when it has used no CPU time (counted in 10 ms) and nothing has come in for this time.";
    MinRunSec: SPAN, "0",
        "Shortest time the service runs before it is stopped for being idle, or evicted.";
    @New, cfg!(feature = "pressure") =>
    MemoryAvailableMin: Syntax::Size(u32::MAX), "0",
        "Memory that must be available before the service is started, in bytes (K, M, G, T): what it takes. \
         Clients wait until then.";
    EvictUnderPressure: Syntax::Choice("no idle yes"), "no",
        "May be stopped when memory is short, the longest idle service first: no, idle (not while somebody is \
         connected) or yes (those with connections last).";
    LoadMax: Syntax::Word(16), "",
        "Load average of one minute, such as 2 or 1.5, from which on the service is not started; clients wait \
         until it falls.";
    @New, true =>
    MaxConnectionRate: COUNT, "",
        "Connections a minute from one source with Accept=yes or ConnectTo=; more are closed at once; 0 or unset: no limit.";
    @New, cfg!(feature = "forward") =>
    ConnectTo: Syntax::Backend, "",
        "Connections are forwarded to this backend, which cannot take a socket: port (on 127.0.0.1), v4:port, \
         [v6]:port, name:port (in /etc/hosts), /path, @abstract or vsock:cid:port.";
    SendProxyV2: Syntax::Bool, "no",
        "Tells the backend of ConnectTo= the client's address (PROXY protocol, version 2).";
}

impl Id {
    /// One sentence for the user, with unit and range.
    pub fn help(self) -> &'static str {
        HELP[self as usize]
    }
}
