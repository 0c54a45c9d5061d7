//! What the commands tell people, packed: a daemon asks for none of it.

use crate::packed::{self, fill, nth, packed, texts};

texts! {
    /// The texts. Those with names in braces are filled from a row of the protocol.
    enum Say {
        @true =>
        Checked
            "{0}: {1} service{2}, {3} socket{4}, {5} bytes of text\n\
             memory of the tables: {6} kB asleep, {7} kB with every service awake, at most {8} kB with {9} children\n";
        Whole "ok";
        Rest "the rest";
        LeftOut "run would leave out the services that are faulty, and serve the rest (exit code 1)";
        @cfg!(feature = "activate") =>
        NoAddress "an inherited descriptor (LISTEN_FDS) is not a socket with an address";
        ProgramMissing "the program {0} is not there, or cannot be executed";
        NotText "{0} is not valid UTF-8";
        NotBecome "cannot become the program: {0}: {1}";
        @cfg!(feature = "explain") =>
        NoService "no service \"{0}\"; there are: {1}";
        Forwarded "its connections are forwarded";
        EachConnection "one process for each connection";
        Listening "one process with the listening sockets";
        Sockets "{0}: {1}\n\nsockets\n";
        Address "  {0} {1}\n";
        Backend "\nbackend\n  {0}{1}\n";
        Header ", with the client's address in front (PROXY protocol, version 2)";
        NoProgram "\nno program: {0}\n";
        BuiltIn "it is built in";
        AsItIs "connections go to the backend as it is";
        Program "\nprogram\n  {0}\n";
        Argument "  argv[{0}] {1}\n";
        TheConnection "the connection";
        TheListener "the listening socket";
        OurError "the standard error of dormouse";
        SyslogLines "lines to syslog";
        KernelLines "lines to the kernel's log";
        Descriptors "\ndescriptors\n";
        OurOwn "that of dormouse";
        AFile "a file, see below";
        NoSocket "  no socket: the program opens the backend's address by itself\n";
        NamedSocket "  {0} {1} ({2}blocking), name {3}\n";
        Environment "\nenvironment\n";
        Variable "  {0}\n";
        Listen "  LISTEN_FDS={0}\n  LISTEN_FDNAMES={1}\n  LISTEN_PID=<its pid>\n";
        Connection
            "  and for each connection, TCP: REMOTE_ADDR REMOTE_PORT REMOTE_HOST PROTO TCPREMOTEIP\n  \
             TCPREMOTEPORT TCPLOCALIP TCPLOCALPORT TCPCONNNUM; unix: PROTO IPCREMOTEEUID IPCREMOTEEGID IPCCONNNUM,\n  \
             of a client with a name REMOTE_ADDR IPCREMOTEPATH\n";
        Before "\nbefore the program is executed\n  own session, default signals, none blocked\n";
        RootInstead " (/ if it is missing)";
        IsMissing "{0} is missing";
        Idle "{0} s without a connection";
        Quiet "{0} s without CPU time and input";
        Sleep "\nsleep\n  stopped after {0}\n";
        Counted "  {0} connections are counted by {1}\n";
        @cfg!(feature = "control") =>
        NoControl "no control socket is known; expected --control PATH, as the daemon was given";
        NotAllowed "only root and the user of the daemon may ask it";
        NotRunning "is dormouse running, with this --control?";
        CannotAsk "cannot ask the daemon at {0}: {1}; {2}";
        Ended "the daemon has ended the connection";
        Daemon
            "dormouse {version}, pid {pid}, up {uptime_ms}: {services} services, {sockets} sockets, {processes} processes\n\
             [stopping:it is ending\n][missing:{missing} sockets are not open and are tried again\n]\
             late allocations {late_allocations}, lost log lines {lost_log_lines}, log level ";
        Resting " for {rest_ms} (until ";
        Paused ", its sockets are paused";
        PerConnection "{program} for each connection";
        WithAll "{program} with all sockets";
        Limited "{live} of {max_connections}";
        Dropped "{dropped} datagrams on which every run failed";
        Asleep "{asleep_ms}, {given_back_kb} given back; {slept_ms} in all";
        Slept "{slept_ms} in all, {given_back_kb} given back the last time";
        NotOpen "{kind} {address} (not open, tried again in {retry_ms})";
        OfKernel "[drops:, {drops} packets dropped by the kernel][counted_by:, connections counted by {counted_by}]";
        // one that has ended has no memory
        Process "{pid} {comm}, age {age_ms}[idle_ms:, idle {idle_ms}][memory_kb:, memory {memory_kb}][cpu_ms:, CPU {cpu_ms}]";
        Starts "{count}, last {last_us}, worst {worst_us}";
        // sysexits.h, and what shells say
        Statuses
            "0 success\n1 failure\n2 wrong usage or invalid arguments\n64 wrong usage\n65 bad input data\n66 no input\n\
             67 no such user\n68 no such host\n69 service unavailable\n70 internal error\n71 system error\n\
             72 system file missing\n73 cannot create output\n74 input/output error\n75 temporary failure\n\
             76 protocol error\n77 no permission\n78 faulty configuration\n126 a program cannot be executed\n\
             127 a program is not found\n128 a child of it was ended by a signal";
        // name, key of the row, explanation
        DaemonFamilies
            "up_seconds uptime_ms Time since the start.\n\
             services services Services of the configuration.\n\
             sockets sockets Sockets of the configuration.\n\
             sockets_missing missing Sockets that are not open and are tried again.\n\
             processes processes Children alive.\n\
             late_allocations late_allocations Allocations after the start; a bug if not 0.\n\
             lost_log_lines lost_log_lines Log lines that could not be written and are not yet told.";
        ServiceFamilies
            "accepted accepted Connections accepted, or starts with Accept=no.\n\
             ended ended Runs that have ended.\n\
             dropped dropped Datagrams dropped because every run failed on them.\n\
             failures failures Failed starts and runs in a row.\n\
             live live Processes of a service, or connections that are forwarded.\n\
             slept_seconds slept_ms Time asleep for want of use.\n\
             given_back_bytes given_back_kb Memory that the last stop for want of use gave back.";
        DroppedPackets
            "Packets that the kernel dropped at a socket: turned away by its address rules, or its queue was full.";
        Refused "Connections closed, by the reason.";
        Rested "Rests with the sockets left open, by the reason.";
        State "1 for the state that a service is in.";
        StartSeconds "From the knock to the execution of the program.";
        Counters "accepted ended dropped slept_seconds late_allocations dropped_packets refused rested";
    }
}

const TEXT: &str = packed::text(const { &packed::join::<{ 1 << 13 }>(&[Say::PIECES]) });

packed! {
    PACKED (WHOLE) = TEXT, after crate::cli::WHOLE.2, Some(&crate::cli::PACKED); fn all
}

impl Say {
    pub(super) fn text(self) -> &'static str {
        nth(all(), self as usize)
    }

    /// The text with arguments for `{0}`, `{1}`, ...
    pub(super) fn with(self, arguments: &[&str]) -> String {
        fill(self.text(), arguments)
    }
}
