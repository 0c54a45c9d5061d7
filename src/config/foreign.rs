//! Directives that systemd has and this program does not: named in faults, so that nobody looks for a typing error.
//!
//! The list is that of systemd.directives(7) (version 258) for [Unit], [Service], [Socket] and [Install], less those of
//! our own table. The names themselves would take five kilobytes, so the compiler leaves a hash of each. That some
//! other name has one of these hashes is less likely than one in ten million.

/// What leaving a directive out means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// The service is less protected than under systemd, where it could gain no privileges either if it is not root's.
    /// That part we can do.
    Wall,
    /// The service is less protected than under systemd.
    Protection,
    /// Nothing: it describes the place of the unit among others, or a thing that can't happen here.
    Meaningless,
    /// Something that the author wanted does not happen.
    Other,
}

/// Walls that bring NoNewPrivileges=yes with them when the program is not root's, systemd.exec(5).
const WALLS: &str = "\
    LockPersonality MemoryDenyWriteExecute PrivateDevices ProtectClock ProtectHostname ProtectKernelLogs \
    ProtectKernelModules ProtectKernelTunables RestrictAddressFamilies RestrictNamespaces RestrictRealtime \
    RestrictSUIDSGID SystemCallArchitectures SystemCallFilter SystemCallLog";

/// Other walls round a service.
const PROTECTION: &str = "\
    AppArmorProfile BPFProgram BindPaths BindReadOnlyPaths DeviceAllow DevicePolicy DynamicUser ExecPaths \
    IPCNamespacePath IPEgressFilterPath IPIngressFilterPath InaccessibleDirectories InaccessiblePaths \
    KeyringMode MountFlags NFTSet NetworkNamespacePath NoExecPaths Personality PrivateBPF PrivateIPC \
    PrivateMounts PrivateNetwork PrivatePIDs PrivateTmp PrivateUsers ProcSubset ProtectControlGroups \
    ProtectHome ProtectProc ProtectSystem ReadOnlyDirectories ReadOnlyPaths ReadWriteDirectories \
    ReadWritePaths RemoveIPC RestrictFileSystems RestrictNetworkInterfaces RootHash RootHashSignature \
    RootImage RootImageOptions RootImagePolicy RootVerity SELinuxContext SELinuxContextFromNet SecureBits \
    SmackLabel SmackLabelIPIn SmackLabelIPOut SmackProcessLabel SocketBindAllow SocketBindDeny \
    SystemCallErrorNumber TemporaryFileSystem UserNamespacePath";

/// Order, dependencies and descriptions of units, and what belongs to a start or a reload that systemd waits for.
const MEANINGLESS: &str = "\
    After Alias AllowIsolate Also Before BindTo BindsTo BlockIOAccounting BusName CPUAccounting CollectMode \
    Conflicts DefaultDependencies DefaultInstance Description Documentation ExecReload ExecReloadPost \
    GuessMainPID IOAccounting IPAccounting IgnoreOnIsolate JobRunningTimeoutSec JobTimeoutAction \
    JobTimeoutRebootArgument JobTimeoutSec JoinsNamespaceOf MemoryAccounting OnFailureIsolate \
    OnFailureJobMode OnSuccessJobMode PIDFile PartOf PermissionsStartOnly PropagateReloadFrom \
    PropagateReloadTo PropagatesReloadTo PropagatesStopTo RefreshOnReload RefuseManualStart RefuseManualStop \
    ReloadPropagatedFrom ReloadSignal RequiredBy Requires RequiresMountsFor RequiresOverridable Requisite \
    RequisiteOverridable RootDirectoryStartOnly RuntimeDirectoryPreserve Slice Sockets SourcePath StopPropagatedFrom StopWhenUnneeded \
    TasksAccounting TimeoutAbortSec TimeoutCleanSec TimeoutStartFailureMode TimeoutStartSec \
    TimeoutStopFailureMode Type UpheldBy Upholds WantedBy Wants WantsMountsFor";

/// Everything else. Condition...= and Assert...= are known by their beginning.
const OTHER: &str = "\
    AcceptFileDescriptors AllowedCPUs AllowedMemoryNodes BPFDelegateAttachments BPFDelegateCommands \
    BPFDelegateMaps BPFDelegatePrograms BlockIODeviceWeight BlockIOReadBandwidth BlockIOWeight \
    BlockIOWriteBandwidth CPUAffinity CPUQuota CPUQuotaPeriodSec CPUSchedulingPolicy CPUSchedulingPriority \
    CPUSchedulingResetOnFork CPUSetPartition CPUShares CPUWeight CacheDirectoryAccounting \
    CacheDirectoryQuota ConfigurationDirectory ConfigurationDirectoryMode CoredumpFilter \
    CoredumpReceive DefaultMemoryLow DefaultMemoryMin DefaultStartupMemoryLow DeferTrigger Delegate \
    DelegateNamespaces DelegateSubgroup DisableControllers ExecCondition ExecSearchPath ExecStartPost \
    ExecStartPre ExecStop ExecStopPost ExecStopPre ExitType ExtensionDirectories ExtensionImagePolicy \
    ExtensionImages FailureAction FailureActionExitStatus FileDescriptorStoreMax FileDescriptorStorePreserve \
    FinalKillSignal IODeviceLatencyTargetSec IODeviceWeight IOReadBandwidthMax IOReadIOPSMax \
    IOSchedulingClass IOSchedulingPriority IOWeight IOWriteBandwidthMax IOWriteIOPSMax IgnoreSIGPIPE \
    ImportCredential ListenMessageQueue ListenNetlink ListenSpecial ListenUSBFunction LoadCredential \
    LoadCredentialEncrypted LogExtraFields LogFilterPatterns LogLevelMax LogNamespace LogRateLimitBurst \
    LogRateLimitIntervalSec LogsDirectoryAccounting LogsDirectoryQuota \
    ManagedOOMMemoryPressure ManagedOOMMemoryPressureDurationSec ManagedOOMMemoryPressureLimit \
    ManagedOOMPreference ManagedOOMSwap MemoryHigh MemoryKSM MemoryLimit MemoryLow MemoryMax MemoryMin \
    MemoryPressureThresholdSec MemoryPressureWatch MemorySwapMax MemoryTHP MemoryZSwapMax \
    MemoryZSwapWriteback MessageQueueMaxMessages MessageQueueMessageSize MountAPIVFS MountImages NUMAMask \
    NUMAPolicy OOMPolicy OnFailure OnSuccess OpenFile PAMName PassFileDescriptorsToExec PassPIDFD \
    PassSecurity PipeSize RebootArgument RemainAfterExit RestartForceExitStatus RestartKillSignal \
    RestartMaxDelaySec RestartPreventExitStatus RestartSteps RootEphemeral \
    RuntimeRandomizedExtraSec SendSIGHUP SetCredential \
    SetCredentialEncrypted SetLoginEnvironment SocketProtocol StandardInputData StandardInputText \
    StartLimitAction StartupAllowedCPUs StartupAllowedMemoryNodes StartupBlockIOWeight StartupCPUShares \
    StartupCPUWeight StartupIOWeight StartupMemoryHigh StartupMemoryLow StartupMemoryMax \
    StartupMemorySwapMax StartupMemoryZSwapMax StateDirectoryAccounting \
    StateDirectoryQuota SuccessAction SuccessActionExitStatus SurviveFinalKillSignal SyslogFacility \
    SyslogLevel SyslogLevelPrefix TTYColumns TTYPath TTYReset TTYRows TTYVHangup TTYVTDisallocate TasksMax \
    TimeoutSec TimerSlackNSec Timestamping USBFunctionDescriptors USBFunctionStrings UtmpIdentifier UtmpMode \
    WatchdogSec WatchdogSignal Writable";

/// Where each list ends in [`HASHES`].
const WALLS_END: usize = count(WALLS);
const PROTECTIONS: usize = WALLS_END + count(PROTECTION);
const MEANINGLESSES: usize = PROTECTIONS + count(MEANINGLESS);
const OTHERS: usize = MEANINGLESSES + count(OTHER);

/// The hashes of all names, list after list.
static HASHES: [u32; OTHERS] = {
    let mut all = [0; OTHERS];
    let lists = [(WALLS, 0), (PROTECTION, WALLS_END), (MEANINGLESS, PROTECTIONS), (OTHER, MEANINGLESSES)];
    let mut list = 0;
    while list < lists.len() {
        fill(&mut all, lists[list].1, lists[list].0.as_bytes());
        list += 1;
    }
    all
};

/// Names in a list.
const fn count(list: &str) -> usize {
    let (mut names, mut at) = (1, 0);
    while at < list.len() {
        names += (list.as_bytes()[at] == b' ') as usize;
        at += 1;
    }
    names
}

/// Writes the hashes of a list from `index` on.
const fn fill(all: &mut [u32], mut index: usize, mut list: &[u8]) {
    let mut at = 0;
    while at <= list.len() {
        if at == list.len() || list[at] == b' ' {
            all[index] = hash(list.split_at(at).0);
            if at == list.len() {
                return;
            }
            list = list.split_at(at + 1).1;
            (index, at) = (index + 1, 0);
        } else {
            at += 1;
        }
    }
}

/// FNV-1a of a name without regard to case.
const fn hash(name: &[u8]) -> u32 {
    let (mut hash, mut at) = (0x811c_9dc5_u32, 0);
    while at < name.len() {
        hash = (hash ^ name[at].to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// What kind of directive of systemd this is; `None`: systemd has no such name, or it is in our own table. A build that
/// reads no units does not know.
pub fn foreign(name: &str) -> Option<Foreign> {
    if !cfg!(feature = "units") {
        return None;
    }
    let hash = hash(name.as_bytes());
    match HASHES.iter().position(|known| *known == hash) {
        Some(index) if index < WALLS_END => Some(Foreign::Wall),
        Some(index) if index < PROTECTIONS => Some(Foreign::Protection),
        Some(index) if index < MEANINGLESSES => Some(Foreign::Meaningless),
        None if !name.starts_with("Condition") && !name.starts_with("Assert") => None,
        _ => Some(Foreign::Other),
    }
}
