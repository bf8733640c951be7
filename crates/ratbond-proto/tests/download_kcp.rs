//! Downloads over a KCP session and simulated WANs: the links are filled, and their queues stay short.

use std::time::Duration;

use ratbond_netem::LinkConfig;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_sim::pair::{Pair, plain_link};
use ratbond_sim::tcp::{Tcp, download};

/// What a link of 1 bit/s carries of TCP payload: 1,284 bytes in packets of 1,408.
const EFFICIENCY: f64 = 1284.0 / 1408.0;

fn goodput(links: &[LinkConfig], count: u16, seed: u64) -> f64 {
    let mut pair = Pair::kcp(SchedulerKind::Consistent, links, seed);
    pair.connect();
    let mut flows: Vec<Tcp> = (0..count).map(Tcp::new).collect();
    download(&mut pair, &mut flows, Duration::from_secs(3));
    let rates = download(&mut pair, &mut flows, Duration::from_secs(5));
    rates.iter().sum()
}

#[test]
fn one_download_fills_its_link() {
    for seed in [1, 2] {
        let used = goodput(&[plain_link()], 1, seed) / (50e6 * EFFICIENCY);
        assert!(used > 0.9, "{used:.3} of the link");
    }
}

#[test]
fn six_downloads_fill_two_links() {
    for seed in [1, 2] {
        let used = goodput(&[plain_link(), plain_link()], 6, seed) / (100e6 * EFFICIENCY);
        assert!(used > 0.9, "{used:.3} of both links");
    }
}
