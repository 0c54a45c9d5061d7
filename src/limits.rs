//! Every capacity, size and time that the program has built in: name with its unit last, the reason, and what happens
//! when it is reached. Nothing is ever cut to fit: a configuration that needs more is refused with the number it needs,
//! and at run time a full table makes clients wait.
//!
//! A capacity can be changed at build time by an environment variable of the same name behind `DORMOUSE_`, for example
//! `DORMOUSE_SERVICES=64 cargo build`. The tables lie in `.bss`: a row that is not used costs no RAM.

/// Services that a configuration may have. More: the configuration is refused.
pub const SERVICES: usize = from_env(option_env!("DORMOUSE_SERVICES"), 512);
/// Sockets of all services together. More: the configuration is refused.
pub const LISTENERS: usize = from_env(option_env!("DORMOUSE_LISTENERS"), 1024);
/// Children alive at once, of all services together. Reached: listeners rest and clients wait in the backlog.
pub const CHILDREN: usize = from_env(option_env!("DORMOUSE_CHILDREN"), 4096);
/// Bytes of names, arguments, environment and addresses of all services together. More: the configuration is refused.
pub const ARENA_BYTES: usize = from_env(option_env!("DORMOUSE_ARENA_BYTES"), 1 << 20);
/// Sockets of one service: they get the descriptors 3, 4, ... of the child. More: the configuration is refused.
pub const SERVICE_LISTENERS: usize = from_env(option_env!("DORMOUSE_SERVICE_LISTENERS"), 32);

/// Pipes from children to the log (one for each SyslogIdentifier=). More: the configuration is refused.
pub const OUTPUTS: usize = from_env(option_env!("DORMOUSE_OUTPUTS"), 64);
/// Running services that are taken over from an earlier Dormouse. More: they hold their addresses until they end.
pub const FOREIGN: usize = from_env(option_env!("DORMOUSE_FOREIGN"), 64);
/// Connections that wait for a program which could not be started, one per service. More: they are closed.
pub const PARKED: usize = from_env(option_env!("DORMOUSE_PARKED"), 32);
/// Sources that are remembered for MaxConnectionRate=. More: the one that began longest ago is forgotten.
pub const RATES: usize = from_env(option_env!("DORMOUSE_RATES"), 512);

/// Connections of services that are built in, of all of them together. Reached: their clients wait in the backlog.
pub const INTERNAL_CONNECTIONS: usize = from_env(option_env!("DORMOUSE_INTERNAL_CONNECTIONS"), 16);
/// A connection of a built-in service on which nothing has moved for this time is closed.
pub const INTERNAL_IDLE_MS: u64 = 60_000;
/// Bytes that a built-in service moves for one connection or datagram in one turn.
pub const INTERNAL_BYTES: usize = 2048;

/// Connections that are forwarded (ConnectTo=), of all services together, or fewer: each takes two descriptors.
/// Reached: their clients wait in the backlog.
pub const FORWARDED: usize = from_env(option_env!("DORMOUSE_FORWARDED"), 1024);
/// Bytes that are read of a forwarded connection at once. Who sends as much is likely to send more, which then goes
/// through a pipe, without a copy.
pub const FORWARD_BYTES: usize = 16 * 1024;
/// Bytes of such a pipe, where the kernel allows: a stream takes a tenth less time than with the usual 64 kB, and twice
/// as much is no faster.
pub const STREAM_BYTES: usize = 256 * 1024;
/// Pipes of this size at a time; the others have the usual one, so that clients who do not read hold little of the
/// kernel's memory.
pub const LARGE_PIPES: u8 = 8;
/// What a backend on this machine may be ahead of us (SO_RCVBUF, which the kernel doubles; it allows everybody as
/// much). Without it that grows to megabytes for a stream, which leave the CPU's cache before they are sent on.
pub const BACKEND_AHEAD_BYTES: usize = 208 * 1024;
/// What waits to be sent to a program on this machine (TCP_NOTSENT_LOWAT), for the same reason: where TCP is paced
/// (BBR) a stream takes a sixth less time. To other machines it stays with the kernel's own limit.
pub const UNSENT_BYTES: usize = 128 * 1024;
/// Bytes that one forwarded connection moves one way in one turn of the loop, roughly.
pub const FORWARD_TURN_BYTES: usize = 1024 * 1024;
/// Pipes that are kept open for what one side does not take yet.
pub const FORWARD_PIPES: usize = 4;
/// So long a client waits for a backend that is being started. Then it is closed.
pub const BACKEND_WAIT_MS: u64 = 90_000;
/// How often it is looked at, while clients come, how many descriptors we may have (getrlimit(2)).
pub const DESCRIPTORS_LOOK_MS: u64 = 1_000;
/// First pause before a backend that does not answer yet is tried again. Doubles up to [`BACKEND_CEILING_MS`].
pub const BACKEND_FIRST_MS: u64 = 5;
/// Longest pause between two tries of a backend that is being started.
pub const BACKEND_CEILING_MS: u64 = 250;
/// Clients of a backend that has begun to answer that are connected to it in one turn; the rest in the next turns.
pub const CONNECTS_PER_TURN: usize = 32;

/// Words of a command line, the program included. More: the configuration is refused.
pub const ARGUMENTS: usize = 255;
/// Variables that a child gets, those of the protocols included. More: the configuration is refused.
pub const ENVIRONMENT: usize = 255;
/// File mode creation mask of the program and of children without UMask= (systemd.exec(5)).
pub const UMASK: u32 = 0o022;
/// Supplementary groups of a child. More: the configuration is refused.
pub const GROUPS: usize = from_env(option_env!("DORMOUSE_GROUPS"), 128);
/// Bytes of LISTEN_FDNAMES. More: the configuration is refused.
pub const FD_NAMES_BYTES: usize = 1024;
/// Bytes of the variables that are made for each start (REMOTE_ADDR=, LISTEN_FDS=, ...). All of them fit: their
/// values are numbers, addresses, one socket path and the names, see the assertion below.
pub const START_TEXT_BYTES: usize = 768 + FD_NAMES_BYTES;
/// Bytes of a command line with the name of a connection (%i) in it, each name counted as [`INSTANCE_BYTES`]. It lies
/// where otherwise long names of sockets would. More: the configuration is refused.
pub const INSTANCE_WORDS_BYTES: usize = 740;
/// Bytes of the name of a connection: its number and both addresses with their ports.
pub const INSTANCE_BYTES: usize = 136;
/// Bytes in one line of a configuration file, continuation lines joined. More: an error names the line.
pub const CONFIG_LINE_BYTES: usize = 16 * 1024;
/// Bytes in one configuration file. More: the file is refused.
pub const CONFIG_FILE_BYTES: usize = 4 << 20;
/// Bytes in the name of a service. More: the configuration is refused.
pub const SERVICE_NAME_BYTES: usize = 64;
/// Bytes in a socket's name in LISTEN_FDNAMES (sd_listen_fds(3)).
pub const FD_NAME_BYTES: usize = 255;
/// Bytes of a unix socket's path, without the NUL (unix(7): sun_path has 108).
pub const UNIX_PATH_BYTES: usize = 107;
/// Instructions of one classic BPF filter (the kernel's BPF_MAXINSNS). More prefixes than fit: refused.
pub const FILTER_INSTRUCTIONS: usize = 4096;

/// Clients of the control socket at once. More: the one that has been idle longest goes.
pub const CONTROL_CLIENTS: usize = 8;
/// Bytes of a request on the control socket, with its newline. More: the client is told and cut off.
pub const CONTROL_REQUEST_BYTES: usize = SERVICE_NAME_BYTES + 32;
/// Bytes of one row of an answer. What is longer (a path of many strange characters) is cut, and the cut is shown.
pub const CONTROL_ROW_BYTES: usize = 768;
/// Rows that one client gets in one turn of the loop; the rest comes in the next turns.
pub const CONTROL_ROWS_PER_TURN: usize = 8;
/// A client of the control socket that sends nothing, or takes nothing, for this long is cut off.
pub const CONTROL_IDLE_MS: u64 = 5_000;
/// Events that are kept in memory for `history`; the oldest makes room for the next. A power of two, 32 bytes each.
pub const EVENTS: usize = from_env(option_env!("DORMOUSE_EVENTS"), 256);

/// Events taken from epoll in one turn of the loop: bounds the work between two looks at dead children.
pub const EVENTS_PER_TURN: usize = 16;
/// Children reaped in one turn before listeners are looked at. What is left comes in the next turn.
pub const REAPS_PER_TURN: usize = 64;
/// Stack of the child between clone and exec. It makes plain system calls only; measured use is under 2 kB.
pub const CHILD_STACK_BYTES: usize = 16 * 1024;
/// A child that has a folder to enter or a file to open, which may be on the network and not answer, is killed if it
/// has not executed its program after this time: everything stands still for it.
pub const EXECUTE_MS: u64 = 10_000;
/// Bytes of one log line; the rest of a longer one is left out and marked with `...`.
pub const LOG_LINE_BYTES: usize = 512;
/// Log lines of one kind in [`LOG_INTERVAL_MS`]; what is more is counted and reported in one line afterwards.
pub const LOG_BURST: u16 = 10;
/// The interval of [`LOG_BURST`].
pub const LOG_INTERVAL_MS: u64 = 5_000;

/// Bytes of what a check of the configuration says that are kept for the answer to `reload`. What is more is lost.
pub const CHECK_OUTPUT_BYTES: usize = 16 * 1024;
/// Time for a check of the configuration. A longer one is ended, and the answer is no.
pub const CHECK_TIMEOUT_MS: u64 = 60_000;
/// From the first change among the names of this machine until they are read: useradd(8) is done by then.
pub const NAMES_MS: u64 = 500;
/// Pauses that the next image makes, all together, while it lacks memory or descriptors: a minute. Then it ends, and
/// with it go the sockets, which nobody else holds.
pub const PAUSES: u32 = 600;
/// One of them.
pub const PAUSE_MS: i32 = 100;
/// Bytes of our own command line. With a longer one there is no reload.
pub const COMMAND_LINE_BYTES: usize = 4096;

/// First rest after a failed start. Doubles with each further one: 5 starts in the first 5 seconds.
pub const BACKOFF_FIRST_MS: u64 = 250;
/// A failure after a run of this length is the first one again.
pub const BACKOFF_RESET_MS: u64 = 10_000;
/// Longest rest after failed starts.
pub const BACKOFF_CEILING_MS: u64 = 15_000;
/// First pause between two looks at what is left of a service whose main process has ended. Grows to
/// [`LEFTOVER_CEILING_MS`].
pub const LEFTOVER_LOOK_MS: u64 = 250;
/// Longest pause between two such looks.
pub const LEFTOVER_CEILING_MS: u64 = 60_000;
/// What is left of a service whose main process has ended well, and soon, has this time to leave its session
/// (daemon(3)) before it is asked to end.
pub const BACKGROUND_MS: u64 = 250;
/// How often a resting service looks whether its missing program is there now (one access(2), no start).
pub const PROGRAM_LOOK_MS: u64 = 250;
/// First rest of a listener when accept finds no descriptor or memory. Doubles up to [`SCARCE_CEILING_MS`].
pub const SCARCE_FIRST_MS: u64 = 20;
/// Connections in a row that are gone when they are taken, after which the listener rests like for want of something.
pub const ACCEPT_MISSES: u32 = 8;
/// Longest rest of a listener for want of descriptors or memory.
pub const SCARCE_CEILING_MS: u64 = 1_000;
/// First pause before an address that is in use or missing is tried again. Doubles up to [`OPEN_CEILING_MS`].
pub const OPEN_FIRST_MS: u64 = 250;
/// Longest pause between two tries of an address. rtnetlink wakes it earlier when an address appears.
pub const OPEN_CEILING_MS: u64 = 10_000;
/// Failed runs in a row with the same datagram at the head of the queue after which it is dropped.
pub const POISON_RUNS: u32 = 5;
/// Runs in a row of at most [`SHORT_RUN_MS`] with something left in the sockets, after which it is watched whether the
/// next one reads its input.
pub const SHORT_RUNS: u32 = 1;
/// A run that ends within this time with its input still unread counts as a failed start.
pub const SHORT_RUN_MS: u64 = 1_000;
/// Shortest time between two looks at a service that may sleep, unless its time is over earlier.
pub const IDLE_LOOK_MIN_MS: u64 = 1_000;
/// Even then: a span of nothing must not make the loop spin.
pub const IDLE_LOOK_LEAST_MS: u64 = 20;
/// Longest time between two looks at a service that may sleep.
pub const IDLE_LOOK_MAX_MS: u64 = 60_000;
/// Looks at such services in one turn of the loop; the rest comes in the next turn.
pub const LOOKS_PER_TURN: usize = 8;
/// How often a start that waits for memory looks again; the end of a service wakes it earlier.
pub const MEMORY_LOOK_MS: u64 = 1_000;
/// For so long after its start what MemoryAvailableMin= says that a service needs counts as taken, if it takes less
/// yet.
pub const GROWING_MS: u64 = 3_000;
/// Such services at a time. More: their memory counts when they have taken it.
pub const GROWING: usize = 16;
/// How often a start that waits for a lower load looks again: the kernel counts it anew every 5 s.
pub const LOAD_LOOK_MS: u64 = 5_000;
/// How long the threads of a session have to stand still after SIGSTOP until it is looked at again.
pub const FREEZE_LOOK_MS: u64 = 2;
/// Such looks until it is let go on and left alone for a while.
pub const FREEZE_LOOKS: u8 = 100;

const _: () = assert!(EVENTS.is_power_of_two(), "the number of an event is its place");
const _: () = assert!(SERVICES < u16::MAX as usize, "services are numbered by u16");
const _: () = assert!(FORWARDED < u16::MAX as usize, "forwarded connections are numbered by u16");
const _: () = assert!(LISTENERS < u16::MAX as usize, "listeners are numbered by u16");
const _: () = assert!(CHILDREN <= i32::MAX as usize && ARENA_BYTES <= u32::MAX as usize);
const _: () = assert!(BACKEND_FIRST_MS < BACKEND_CEILING_MS && BACKEND_CEILING_MS < BACKEND_WAIT_MS);
const _: () = assert!(BACKOFF_FIRST_MS < BACKOFF_CEILING_MS && SCARCE_FIRST_MS < SCARCE_CEILING_MS);
// a connection is one descriptor with one name of at most 255 bytes
const _: () = assert!(INSTANCE_WORDS_BYTES + 255 + 16 <= FD_NAMES_BYTES && INSTANCE_BYTES < INSTANCE_WORDS_BYTES);
// REMOTE_ADDR, REMOTE_HOST, TCPREMOTEIP and TCPLOCALIP with a scope (64 each), or IPCREMOTEPATH and REMOTE_ADDR of a
// unix peer (128 each), and twelve numbers of at most 40 bytes with their names.
const _: () = assert!(START_TEXT_BYTES >= 2 * 128 + 12 * 40 + FD_NAMES_BYTES);

/// The number in `text`, or `default` where the variable was not set at build time.
const fn from_env(text: Option<&str>, default: usize) -> usize {
    let Some(text) = text else { return default };
    let bytes = text.as_bytes();
    let mut value = 0;
    let mut i = 0;
    while i < bytes.len() {
        assert!(bytes[i].is_ascii_digit(), "a capacity set at build time must be a decimal number");
        value = value * 10 + (bytes[i] - b'0') as usize;
        i += 1;
    }
    assert!(value > 0, "a capacity set at build time must not be zero");
    value
}
