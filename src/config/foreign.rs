//! Directives that systemd has and this program does not: named in faults, so that nobody looks for a typing error.

/// What leaving a directive out means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// The service is less protected than under systemd.
    Protection,
    /// Nothing: it describes the place of the unit among others.
    Meaningless,
    /// Something that the author wanted does not happen.
    Other,
}

/// Walls round a service.
const PROTECTION: &str = "\
    AppArmorProfile BPFProgram BindPaths BindReadOnlyPaths DeviceAllow DevicePolicy DynamicUser ExecPaths \
    IPCNamespacePath IPEgressFilterPath IPIngressFilterPath InaccessiblePaths KeyringMode LockPersonality \
    MemoryDenyWriteExecute MountFlags NetworkNamespacePath NoExecPaths Personality PrivateDevices PrivateIPC \
    PrivateMounts PrivateNetwork PrivatePIDs PrivateTmp PrivateUsers ProcSubset ProtectClock \
    ProtectControlGroups ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules \
    ProtectKernelTunables ProtectProc ProtectSystem ReadOnlyPaths ReadWritePaths RemoveIPC \
    RestrictAddressFamilies RestrictFileSystems RestrictNamespaces RestrictNetworkInterfaces RestrictRealtime \
    RestrictSUIDSGID RootHash RootHashSignature RootImage RootImageOptions RootVerity SELinuxContext \
    SELinuxContextFromNet SecureBits SmackLabel SmackLabelIPIn SmackLabelIPOut SmackProcessLabel SocketBindAllow \
    SocketBindDeny SystemCallArchitectures SystemCallErrorNumber SystemCallFilter SystemCallLog \
    TemporaryFileSystem";

/// Order, dependencies and descriptions of units.
const MEANINGLESS: &str = "\
    After Alias AllowIsolate Also Before BindsTo BlockIOAccounting CPUAccounting CollectMode Conflicts \
    DefaultDependencies DefaultInstance Description Documentation IOAccounting IPAccounting IgnoreOnIsolate \
    JobRunningTimeoutSec JobTimeoutAction JobTimeoutRebootArgument JobTimeoutSec JoinsNamespaceOf \
    MemoryAccounting OnFailureJobMode OnSuccessJobMode PartOf PropagatesReloadTo PropagatesStopTo \
    RefuseManualStart RefuseManualStop ReloadPropagatedFrom RequiredBy Requires RequiresMountsFor Requisite \
    Service Slice Sockets SourcePath StopPropagatedFrom StopWhenUnneeded TasksAccounting UpheldBy Upholds \
    WantedBy Wants";

/// Everything else. Condition...= and Assert...= are known by their beginning.
const OTHER: &str = "\
    AllowedCPUs AllowedMemoryNodes BlockIODeviceWeight BlockIOReadBandwidth BlockIOWeight BlockIOWriteBandwidth \
    BusName CPUAffinity CPUQuota CPUQuotaPeriodSec CPUSchedulingPolicy CPUSchedulingPriority \
    CPUSchedulingResetOnFork CPUShares CPUWeight CacheDirectory CacheDirectoryMode ConfigurationDirectory \
    ConfigurationDirectoryMode CoredumpFilter DefaultMemoryLow DefaultMemoryMin DeferTrigger Delegate \
    DisableControllers ExecCondition ExecReload ExecSearchPath ExecStartPost ExecStartPre ExecStop ExecStopPost \
    ExitType ExtensionDirectories ExtensionImagePolicy ExtensionImages FailureAction FailureActionExitStatus \
    FileDescriptorStoreMax FileDescriptorStorePreserve FinalKillSignal GuessMainPID IODeviceLatencyTargetSec \
    IODeviceWeight IOReadBandwidthMax IOReadIOPSMax IOSchedulingClass IOSchedulingPriority IOWeight \
    IOWriteBandwidthMax IOWriteIOPSMax IOnFailureJobMode IOnSuccessJobMode IPropagatesReloadTo IPropagatesStopTo \
    IgnoreSIGPIPE ImportCredential ListenMessageQueue ListenNetlink ListenSpecial ListenUSBFunction \
    LoadCredential LoadCredentialEncrypted LogExtraFields LogLevelMax LogNamespace LogRateLimitBurst \
    LogRateLimitIntervalSec LogsDirectory LogsDirectoryMode ManagedOOMMemoryPressure \
    ManagedOOMMemoryPressureDurationSec ManagedOOMMemoryPressureLimit ManagedOOMPreference ManagedOOMSwap \
    MemoryHigh MemoryKSM MemoryLimit MemoryLow MemoryMax MemoryMin MemoryPressureThresholdSec \
    MemoryPressureWatch MemorySwapMax MemoryZSwapMax MessageQueueMaxMessages MessageQueueMessageSize MountAPIVFS \
    MountImages NUMAMask NUMAPolicy OOMPolicy OnFailure OnSuccess OpenFile PAMName PIDFile \
    PassFileDescriptorsToExec PassSecurity PermissionsStartOnly PipeSize RebootArgument ReloadSignal \
    RemainAfterExit RestartForceExitStatus RestartKillSignal RestartMaxDelaySec RestartPreventExitStatus \
    RestartSteps RootDirectoryStartOnly RootEphemeral RuntimeDirectory RuntimeDirectoryMode \
    RuntimeDirectoryPreserve RuntimeRandomizedExtraSec SendSIGHUP SetCredential SetCredentialEncrypted \
    SetLoginEnvironment SocketProtocol StandardInputData StandardInputText StartLimitAction StartupAllowedCPUs \
    StartupAllowedMemoryNodes StartupBlockIOWeight StartupCPUShares StartupCPUWeight StartupIOWeight \
    StateDirectory StateDirectoryMode SuccessAction SuccessActionExitStatus SurviveFinalKillSignal \
    SyslogFacility SyslogLevel SyslogLevelPrefix TTYColumns TTYPath TTYReset TTYRows TTYVHangup TTYVTDisallocate \
    TasksMax TimeoutAbortSec TimeoutCleanSec TimeoutSec TimeoutStartFailureMode TimeoutStartSec \
    TimeoutStopFailureMode TimerSlackNSec Timestamping Type USBFunctionDescriptors USBFunctionStrings \
    UtmpIdentifier WatchdogSec WatchdogSignal Writable";

/// What kind of directive of systemd this is; `None`: systemd has no such name, or it is in our own table.
pub fn foreign(name: &str) -> Option<Foreign> {
    let within = |list: &str| list.split(' ').any(|word| word.eq_ignore_ascii_case(name));
    if within(PROTECTION) {
        Some(Foreign::Protection)
    } else if within(MEANINGLESS) {
        Some(Foreign::Meaningless)
    } else if within(OTHER) || name.starts_with("Condition") || name.starts_with("Assert") {
        Some(Foreign::Other)
    } else {
        None
    }
}
