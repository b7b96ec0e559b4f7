//! The layers a packet passes, and to which one a stack belongs.

/// Where time can go at home, from the wire upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// The network card's, here veth's, and its polling.
    Driver,
    /// Programs at XDP, and what carries out their verdict.
    Xdp,
    /// From the driver to the protocols and back: taps, queues, GSO.
    Device,
    /// Programs and classifiers at tc.
    Tc,
    /// IP: routing, forwarding, neighbours.
    Ip,
    /// Hooks, connection tracking, NAT.
    Netfilter,
    /// TCP.
    Tcp,
    /// Bytes between a socket and user space, which TCP has done by others.
    Copying,
    /// System calls and sockets.
    Socket,
    /// The relaying process itself.
    User,
    /// Waking and changing to threads: those of relays, and those that poll.
    Scheduler,
    /// Interrupts, page faults and what no table here knows.
    Rest,
}

impl Layer {
    /// In the order of reports.
    pub(crate) const ALL: [Self; 12] = [
        Self::Driver,
        Self::Xdp,
        Self::Device,
        Self::Tc,
        Self::Ip,
        Self::Netfilter,
        Self::Tcp,
        Self::Copying,
        Self::Socket,
        Self::User,
        Self::Scheduler,
        Self::Rest,
    ];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Xdp => "XDP",
            Self::Device => "device",
            Self::Tc => "tc",
            Self::Ip => "IP",
            Self::Netfilter => "netfilter",
            Self::Tcp => "TCP",
            Self::Copying => "copy",
            Self::Socket => "socket",
            Self::User => "user space",
            Self::Scheduler => "scheduler",
            Self::Rest => "rest",
        }
    }

    /// Functions through which a packet, or a call, comes into it; without them
    /// in the kernel's table of symbols its time cannot be told from others'.
    pub(crate) fn entries(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["veth_xdp_rcv"],
            Self::Device => &["__dev_queue_xmit"],
            Self::Ip => &["ip_rcv_core", "ip_output"],
            Self::Netfilter => &["nf_hook_slow"],
            Self::Tcp => &["tcp_v4_rcv", "__tcp_transmit_skb"],
            Self::Socket => &["inet_recvmsg", "inet_sendmsg"],
            // Programs and user space have no entry of a fixed name, and the
            // others' time is within a layer that has.
            _ => &[],
        }
    }
}

/// What a function says of a stack it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It is work of this layer, and so is what it calls that has no mark.
    Of(Layer),
    /// All that it calls is, marked or not.
    AllOf(Layer),
    /// It is a BPF program, whose layer is that of its caller.
    Program,
    /// It interrupts whatever it seems to be called by.
    Interrupt,
    /// Nothing is to be done.
    Idle,
    /// It is the work of a socket that may be anybody's.
    Others,
}

/// What a stack says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Work in this layer.
    Work(Layer),
    /// Nothing to do.
    Idle,
    /// Others' work, whoever's thread it is that does it.
    Others,
}

use Layer::{Copying, Device, Driver, Ip, Netfilter, Rest, Scheduler, Socket, Tc, Tcp, Xdp};
use Mark::{AllOf, Idle, Interrupt, Of, Others, Program};

/// Marks by the beginning of a function's name; the longest that fits counts.
const MARKS: &[(&str, Mark)] = &[
    ("veth_", Of(Driver)),
    ("veth_xdp_flush", Of(Xdp)),
    ("veth_xdp_tx", Of(Xdp)),
    ("veth_xdp_xmit", Of(Xdp)),
    ("napi_", Of(Driver)),
    ("__napi_", Of(Driver)),
    ("net_rx_action", Of(Driver)),
    ("gro_", Of(Driver)),
    ("dev_gro_", Of(Driver)),
    ("inet_gro_", Of(Driver)),
    ("tcp4_gro_", Of(Driver)),
    ("tcp_gro_", Of(Driver)),
    ("skb_gro_", Of(Driver)),
    ("xdp_", Of(Xdp)),
    ("bpf_xdp_", Of(Xdp)),
    ("bpf_dispatcher_xdp", AllOf(Xdp)),
    ("__dev_flush", Of(Xdp)),
    ("dev_map_", Of(Xdp)),
    ("bq_xmit_all", Of(Xdp)),
    ("bpf_prog_", Program),
    ("__netif_receive_", Of(Device)),
    ("netif_receive_", Of(Device)),
    ("netif_rx", Of(Device)),
    ("process_backlog", Of(Device)),
    ("__dev_queue_xmit", Of(Device)),
    ("dev_queue_xmit", Of(Device)),
    ("dev_hard_start_xmit", Of(Device)),
    ("sch_direct_xmit", Of(Device)),
    ("__qdisc_run", Of(Device)),
    ("skb_do_redirect", Of(Device)),
    ("__bpf_redirect", Of(Device)),
    ("validate_xmit_", Of(Device)),
    ("__skb_gso_", Of(Device)),
    ("skb_mac_gso_", Of(Device)),
    ("inet_gso_", Of(Device)),
    ("tcp_gso_", Of(Device)),
    ("tcp4_gso_", Of(Device)),
    ("tcf_", Of(Tc)),
    ("tc_run", Of(Tc)),
    ("cls_bpf", Of(Tc)),
    ("ip_", Of(Ip)),
    ("__ip_", Of(Ip)),
    ("ip4_", Of(Ip)),
    ("ipv4_", Of(Ip)),
    ("fib_", Of(Ip)),
    ("__fib_", Of(Ip)),
    ("rt_", Of(Ip)),
    ("dst_", Of(Ip)),
    ("neigh_", Of(Ip)),
    ("__neigh_", Of(Ip)),
    ("arp_", Of(Ip)),
    ("nf_", Of(Netfilter)),
    ("__nf_", Of(Netfilter)),
    ("nf_hook_slow", AllOf(Netfilter)),
    ("tcp_", Of(Tcp)),
    ("__tcp_", Of(Tcp)),
    ("inet_csk_", Of(Tcp)),
    ("__inet_lookup", Of(Tcp)),
    ("sk_stream_", Of(Tcp)),
    // A veth's packets know their sender's socket until home looks at them: that
    // the sender may send more is then done at once, where home's work is done.
    ("tcp_tasklet_func", Others),
    ("tcp_tsq_", Others),
    ("_copy_to_iter", Of(Copying)),
    ("_copy_from_iter", Of(Copying)),
    ("simple_copy_to_iter", Of(Copying)),
    ("__skb_datagram_iter", Of(Copying)),
    ("skb_copy_datagram_", Of(Copying)),
    ("sock_", Of(Socket)),
    ("inet_recvmsg", Of(Socket)),
    ("inet_sendmsg", Of(Socket)),
    ("lock_sock", Of(Socket)),
    ("release_sock", Of(Socket)),
    ("entry_SYSCALL", Of(Socket)),
    ("do_syscall_64", Of(Socket)),
    ("syscall_exit_", Of(Socket)),
    ("ep_", Of(Socket)),
    ("schedule", Of(Scheduler)),
    ("__schedule", Of(Scheduler)),
    ("finish_task_switch", Of(Scheduler)),
    ("try_to_wake_up", Of(Scheduler)),
    ("sched_ttwu_", Of(Scheduler)),
    ("wake_up_", Of(Scheduler)),
    ("__wake_up", Of(Scheduler)),
    ("kthread_should_", Of(Scheduler)),
    ("ret_from_fork", Of(Scheduler)),
    ("asm_sysvec_", Interrupt),
    ("asm_common_interrupt", Interrupt),
    ("asm_exc_", Interrupt),
    ("do_idle", Idle),
    ("cpu_startup_entry", Idle),
];

/// The layer of a stack of the kernel, whose functions come from the innermost
/// outwards: that of the innermost function with a mark, so that each layer has
/// the time that it spends itself.
pub(crate) fn of<'a>(functions: impl Iterator<Item = &'a str>) -> Seen {
    // What the program seen last counts as, until its caller is known.
    let mut in_program = false;
    let mut found = None;
    for function in functions {
        match mark(function) {
            None => {}
            Some(AllOf(layer)) => return Seen::Work(layer),
            Some(Program) => {
                in_program = true;
                found = None;
            }
            Some(Of(layer)) if in_program => {
                in_program = false;
                found = Some(layer_of_program(layer));
            }
            Some(Of(layer)) => found = found.or(Some(layer)),
            Some(Others) => return Seen::Others,
            Some(Interrupt) => break,
            Some(Idle) => return found.map_or(Seen::Idle, Seen::Work),
        }
    }
    Seen::Work(found.unwrap_or(Rest))
}

/// Of a program that `caller` calls.
fn layer_of_program(caller: Layer) -> Layer {
    match caller {
        Driver => Xdp,
        Device => Tc,
        other => other,
    }
}

fn mark(function: &str) -> Option<Mark> {
    let fits = MARKS.iter().filter(|(beginning, _)| function.starts_with(beginning));
    fits.max_by_key(|(beginning, _)| beginning.len()).map(|&(_, mark)| mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layer of functions given from the innermost outwards.
    fn layer(functions: &str) -> Seen {
        of(functions.split_whitespace())
    }

    const POLL: &str = "__napi_poll napi_threaded_poll_loop kthread ret_from_fork";

    #[test]
    fn the_innermost_function_with_a_mark_has_the_time() {
        let below = format!("ip_rcv __netif_receive_skb_core veth_xdp_rcv {POLL}");
        assert_eq!(layer(&below), Seen::Work(Ip));
        assert_eq!(layer(&format!("memcmp fib_table_lookup {below}")), Seen::Work(Ip));
        assert_eq!(layer(&format!("tcp_v4_rcv {below}")), Seen::Work(Tcp));
        assert_eq!(
            layer(&format!("try_to_wake_up sock_def_readable tcp_v4_rcv {below}")),
            Seen::Work(Scheduler)
        );
        assert_eq!(
            layer(&format!("eth_type_trans veth_xdp_rcv_skb veth_poll {POLL}")),
            Seen::Work(Driver)
        );
    }

    #[test]
    fn merging_received_packets_is_not_tcp() {
        assert_eq!(layer(&format!("tcp4_gro_receive inet_gro_receive {POLL}")), Seen::Work(Driver));
    }

    #[test]
    fn all_that_hooks_call_is_netfilter() {
        let hook = "tcp_in_window nf_conntrack_tcp_packet nf_hook_slow ip_rcv veth_poll";
        assert_eq!(layer(hook), Seen::Work(Netfilter));
    }

    #[test]
    fn all_that_a_program_calls_is_the_layer_of_its_hook() {
        let program = "fib_table_lookup bpf_ipv4_fib_lookup bpf_prog_1_a bpf_prog_2_b";
        assert_eq!(layer(&format!("{program} veth_xdp_rcv_skb veth_poll {POLL}")), Seen::Work(Xdp));
        assert_eq!(
            layer(&format!("{program} bpf_dispatcher_xdp_func veth_xdp_rcv")),
            Seen::Work(Xdp)
        );
        assert_eq!(
            layer(&format!("{program} __netif_receive_skb_core veth_xdp_rcv")),
            Seen::Work(Tc)
        );
        // What a program only asks for is done after it.
        assert_eq!(layer(&format!("xdp_do_redirect veth_xdp_rcv_skb {POLL}")), Seen::Work(Xdp));
    }

    #[test]
    fn what_an_interrupt_does_is_not_the_work_of_the_interrupted() {
        assert_eq!(
            layer("update_process_times asm_sysvec_apic_timer_interrupt tcp_ack"),
            Seen::Work(Rest)
        );
        let within = "veth_poll net_rx_action handle_softirqs asm_sysvec_x nf_hook_slow ip_rcv";
        assert_eq!(layer(within), Seen::Work(Driver));
    }

    #[test]
    fn nothing_to_do_is_no_layer() {
        assert_eq!(layer("pv_native_safe_halt default_idle do_idle cpu_startup_entry"), Seen::Idle);
        assert_eq!(
            layer("__schedule schedule_idle do_idle cpu_startup_entry"),
            Seen::Work(Scheduler)
        );
    }

    #[test]
    fn what_the_peer_sends_on_home_s_processor_is_not_home_s_work() {
        let peer = "__dev_queue_xmit ip_output __tcp_transmit_skb tcp_write_xmit tcp_tsq_handler";
        assert_eq!(layer(&format!("{peer} tasklet_action handle_softirqs {POLL}")), Seen::Others);
    }

    #[test]
    fn the_unknown_is_said_to_be_so() {
        assert_eq!(layer("something_new"), Seen::Work(Rest));
        assert_eq!(layer(""), Seen::Work(Rest));
    }

    #[test]
    fn every_layer_has_a_place_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Layer::ALL.iter().map(|l| l.name()).collect();
        assert_eq!(names.len(), Layer::ALL.len());
        assert!(Layer::ALL.is_sorted());
        for (n, layer) in Layer::ALL.into_iter().enumerate() {
            assert_eq!(layer as usize, n);
        }
    }

    #[test]
    fn a_layer_s_entries_are_its_own() {
        for layer in Layer::ALL {
            for entry in layer.entries() {
                assert!(matches!(mark(entry), Some(Of(l) | AllOf(l)) if l == layer), "{entry}");
            }
        }
    }
}
