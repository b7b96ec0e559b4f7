//! The messages of CRIU's RPC, as its `images/rpc.proto` has them, with the
//! fields that are used here. Written by hand, so that no build takes `protoc`.

/// What is asked for, and what an answer answers (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum RequestType {
    /// Nothing; also what CRIU calls a request that it could not read.
    Empty = 0,
    /// Write a tree of processes down.
    Dump = 1,
    /// Revive one.
    Restore = 2,
    /// CRIU tells how far it is, and is answered.
    Notify = 6,
    /// Tell what CRIU can do with this kernel.
    FeatureCheck = 9,
    /// Tell the version.
    Version = 10,
    /// Copy memory while the processes run, once.
    SinglePreDump = 13,
}

/// What happens to cgroups (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum CgroupMode {
    /// They are neither written down nor restored.
    Ignore = 0,
}

/// How CRIU keeps packets away meanwhile (`criu_network_lock_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum NetworkLock {
    /// By iptables; CRIU's default.
    Iptables = 1,
    /// Not at all: parking does.
    Skip = 3,
}

/// `criu_opts`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Options {
    /// A file descriptor of whoever asks; -1 for `images_dir`.
    #[prost(int32, required, tag = "1")]
    pub(super) images_dir_fd: i32,
    /// The root of the tree to write down.
    #[prost(int32, optional, tag = "2")]
    pub(super) pid: Option<i32>,
    /// Open TCP connections are taken along.
    #[prost(bool, optional, tag = "5")]
    pub(super) tcp_established: Option<bool>,
    /// The terminal of a shell's job is left to whoever restores it.
    #[prost(bool, optional, tag = "7")]
    pub(super) shell_job: Option<bool>,
    /// Locks on files are taken along.
    #[prost(bool, optional, tag = "8")]
    pub(super) file_locks: Option<bool>,
    /// 1: errors, 2: warnings, 3: what it does, 4: everything.
    #[prost(int32, optional, tag = "9")]
    pub(super) log_level: Option<i32>,
    /// A file in the folder of the images.
    #[prost(string, optional, tag = "10")]
    pub(super) log_file: Option<String>,
    /// Tell each stage, and wait for the answer.
    #[prost(bool, optional, tag = "12")]
    pub(super) notify_scripts: Option<bool>,
    /// The folder of images in which pages are that have not changed since, by its way
    /// from that of these.
    #[prost(string, optional, tag = "14")]
    pub(super) parent_img: Option<String>,
    /// The kernel tells from here on which pages are written to.
    #[prost(bool, optional, tag = "15")]
    pub(super) track_mem: Option<bool>,
    #[prost(enumeration = "CgroupMode", optional, tag = "34")]
    pub(super) manage_cgroups_mode: Option<i32>,
    /// The largest deleted file that is taken along, in bytes.
    #[prost(uint32, optional, tag = "35")]
    pub(super) ghost_limit: Option<u32>,
    /// Memory stays where it is until it is asked for.
    #[prost(bool, optional, tag = "48")]
    pub(super) lazy_pages: Option<bool>,
    /// A file with options of the command line, for those that RPC lacks.
    #[prost(string, optional, tag = "51")]
    pub(super) config_file: Option<String>,
    #[prost(enumeration = "NetworkLock", optional, tag = "64")]
    pub(super) network_lock: Option<i32>,
    /// Where the images are, if `images_dir_fd` is -1.
    #[prost(string, optional, tag = "68")]
    pub(super) images_dir: Option<String>,
}

/// `criu_req`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(enumeration = "RequestType", required, tag = "1")]
    pub(super) r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) options: Option<Options>,
    /// The answer to what CRIU told: go on, or not.
    #[prost(bool, optional, tag = "3")]
    pub(super) notify_success: Option<bool>,
    /// What is asked about: those that are true.
    #[prost(message, optional, tag = "5")]
    pub(super) features: Option<Features>,
}

/// `criu_resp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(enumeration = "RequestType", required, tag = "1")]
    pub(super) r#type: i32,
    #[prost(bool, required, tag = "2")]
    pub(super) success: bool,
    #[prost(message, optional, tag = "4")]
    pub(super) restored: Option<Restored>,
    #[prost(message, optional, tag = "5")]
    pub(super) notify: Option<Notify>,
    /// An `errno` of CRIU's.
    #[prost(int32, optional, tag = "7")]
    pub(super) errno: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub(super) features: Option<Features>,
    #[prost(string, optional, tag = "9")]
    pub(super) message: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub(super) version: Option<Version>,
}

/// `criu_features`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Features {
    /// The kernel tells which pages were written to.
    #[prost(bool, optional, tag = "1")]
    pub(super) mem_track: Option<bool>,
    /// Pages can follow when they are asked for.
    #[prost(bool, optional, tag = "2")]
    pub(super) lazy_pages: Option<bool>,
}

/// `criu_restore_resp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Restored {
    /// The root of the revived tree.
    #[prost(int32, required, tag = "1")]
    pub(super) pid: i32,
}

/// `criu_notify`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Notify {
    /// The stage.
    #[prost(string, optional, tag = "1")]
    pub(super) script: Option<String>,
    /// The root of the revived tree, once there is one.
    #[prost(int32, optional, tag = "2")]
    pub(super) pid: Option<i32>,
}

/// `criu_version`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Version {
    #[prost(int32, required, tag = "1")]
    pub(super) major: i32,
    #[prost(int32, required, tag = "2")]
    pub(super) minor: i32,
}

impl Request {
    /// A request of one type, with nothing else in it.
    pub(super) fn new(r#type: RequestType) -> Self {
        Self { r#type: r#type.into(), ..Self::default() }
    }

    /// The answer to what CRIU told.
    pub(super) fn answer(go_on: bool) -> Self {
        Self { notify_success: Some(go_on), ..Self::new(RequestType::Notify) }
    }
}
