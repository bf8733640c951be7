use super::*;

fn flow(queue: u64) -> Flow {
    Flow { pin: queue, queue, tcp: true, dscp: 0 }
}

fn item(queue: u64, len: usize, since: Time) -> Queued {
    Queued { packet: Packet::from(vec![queue as u8; len]), flow: flow(queue), since }
}

fn queue(limit_bytes: usize) -> (FairQueue, PacketPool) {
    (FairQueue::new(QueueConfig { limit_bytes, ..QueueConfig::default() }), PacketPool::new(16))
}

#[test]
fn busy_flows_share_by_bytes() {
    let (mut queue, mut pool) = queue(1 << 20);
    for _ in 0..300 {
        queue.push(item(1, 1400, Time::ZERO), &mut pool);
    }
    for _ in 0..300 {
        queue.push(item(2, 350, Time::ZERO), &mut pool);
    }
    let mut bytes = [0; 3];
    for _ in 0..200 {
        let item = queue.pop(Time::ZERO, &mut pool).unwrap();
        bytes[item.flow.queue as usize] += item.packet.len();
    }
    assert!(bytes[1].abs_diff(bytes[2]) < 3000, "{bytes:?}");
}

#[test]
fn a_longer_turn_lets_a_busy_flow_s_packets_leave_in_a_row_and_a_sparse_one_still_passes() {
    let (mut queue, mut pool) = queue(1 << 20);
    queue.set_config(QueueConfig { quantum_bytes: 14_000, ..QueueConfig::default() });
    for n in 0..200 {
        queue.push(item(1 + n % 2, 1400, Time::ZERO), &mut pool);
    }
    let next = |queue: &mut FairQueue, pool: &mut PacketPool| queue.pop(Time::ZERO, pool).unwrap().flow.queue;
    let row: Vec<u64> = (0..64).map(|_| next(&mut queue, &mut pool)).collect();
    assert!(row[4..].chunks(10).all(|turn| turn.iter().all(|flow| *flow == turn[0])), "{row:?}");
    assert!(row[4..].chunks(20).all(|turns| turns[0] != turns[10]), "{row:?}");
    queue.push(item(3, 100, Time::ZERO), &mut pool);
    assert_eq!(next(&mut queue, &mut pool), 3);
}

#[test]
fn a_sparse_flow_passes_a_busy_one() {
    let (mut queue, mut pool) = queue(1 << 20);
    for _ in 0..100 {
        queue.push(item(1, 1400, Time::ZERO), &mut pool);
    }
    for _ in 0..3 {
        queue.pop(Time::ZERO, &mut pool);
    }
    queue.push(item(2, 100, Time::ZERO), &mut pool);
    assert_eq!(queue.pop(Time::ZERO, &mut pool).unwrap().flow.queue, 2);
}

#[test]
fn each_flow_leaves_in_order() {
    let (mut queue, mut pool) = queue(1 << 20);
    for n in 0..50u64 {
        queue.push(item(n % 3, 100 + n as usize, Time::ZERO), &mut pool);
    }
    let mut last = [0; 3];
    while let Some(item) = queue.pop(Time::ZERO, &mut pool) {
        let seen = &mut last[item.flow.queue as usize];
        assert!(item.packet.len() > *seen);
        *seen = item.packet.len();
    }
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}

#[test]
fn overflow_drops_from_the_head_of_the_fattest_flow() {
    let (mut queue, mut pool) = queue(100_000);
    queue.push(item(2, 1000, Time::ZERO), &mut pool);
    for n in 0..200 {
        queue.push(item(1, 1000 + n, Time::ZERO), &mut pool);
    }
    assert!(queue.bytes() <= 100_000);
    assert!(queue.stats().overflow_drops > 0);
    let rest = queue.drain();
    assert_eq!(rest.iter().filter(|item| item.flow.queue == 2).count(), 1);
    assert_eq!(rest.iter().map(|item| item.packet.len()).max(), Some(1199));
}

/// A packet whose header is right, of a sender that listens to marks or does not.
fn with_header(ect: u8, since: Time) -> Queued {
    let mut packet = item(1, 1400, since);
    packet.packet.as_mut_slice()[..2].copy_from_slice(&[0x45, ect]);
    packet
}

fn is_marked(item: &Queued) -> bool {
    item.packet.as_slice()[1] & 3 == 3
}

/// A flow that offers twice what the link takes, but slows down at drops or marks as TCP does; the queue, and how late its
/// packets are in the end.
fn slowed_down(ect: u8) -> (FairQueue, Duration) {
    let (mut queue, mut pool) = queue(16 << 20);
    let (mut window, mut in_queue) = (200usize, 0usize);
    let mut late = Duration::ZERO;
    for ms in 0..20_000u64 {
        let now = Time::from_millis(ms);
        while in_queue < window {
            queue.push(with_header(ect, now), &mut pool);
            in_queue += 1;
        }
        let signals = |queue: &FairQueue| queue.stats().aqm_drops + queue.stats().aqm_marks;
        let before = signals(&queue);
        if let Some(item) = queue.pop(now, &mut pool) {
            in_queue = queue.len();
            late = now.saturating_since(item.since);
        }
        if signals(&queue) > before {
            window = (window / 2).max(2);
        } else if ms % 100 == 0 {
            window += 1;
        }
    }
    (queue, late)
}

#[test]
fn a_standing_queue_is_brought_down_to_the_target() {
    let (queue, late) = slowed_down(0);
    assert!(late < Duration::from_millis(60), "a packet still waits {late:?}");
    assert!(queue.stats().aqm_drops > 0);
    assert_eq!(queue.stats().aqm_marks, 0);
}

#[test]
fn a_flow_that_listens_to_marks_loses_nothing() {
    let (queue, late) = slowed_down(2);
    assert!(late < Duration::from_millis(60), "a packet still waits {late:?}");
    assert!(queue.stats().aqm_marks > 0);
    assert_eq!(queue.stats().aqm_drops, 0);
}

/// Twice what the link takes, and no mark makes it less.
#[test]
fn a_flow_that_does_not_do_what_marks_ask_for_is_dropped_in_the_end() {
    let (mut queue, mut pool) = queue(16 << 20);
    let mut marked = 0;
    for ms in 0..5_000 {
        let now = Time::from_millis(ms);
        for _ in 0..2 {
            queue.push(with_header(1, now), &mut pool);
        }
        marked += u64::from(queue.pop(now, &mut pool).is_some_and(|item| is_marked(&item)));
        if queue.stats().aqm_drops == 0 {
            assert!(ms < 1_500, "{:?}", queue.stats());
        }
    }
    assert_eq!(queue.stats().aqm_marks, marked);
    assert!(marked > 0 && queue.stats().aqm_drops > marked, "{:?}", queue.stats());
}

/// Loses nothing to the drops of those that share its link, wherever the hashes of their flows fall.
#[test]
fn a_call_loses_nothing_beside_downloads_that_are_slowed_down() {
    const DOWNLOADS: u64 = 6;
    for trial in 0..300 {
        let (mut queue, mut pool) = queue(16 << 20);
        let flows: Vec<u64> =
            (0..=DOWNLOADS).map(|n| crate::flow::mix(trial * (DOWNLOADS + 1) + n)).collect();
        let (mut sent, mut came) = (0, 0);
        for ms in 0..1_000u64 {
            let now = Time::from_millis(ms);
            for &download in &flows[1..] {
                for _ in 0..if ms == 0 { 80 } else { ms % 2 } {
                    queue.push(item(download, 1400, now), &mut pool);
                }
            }
            if ms % 5 == 0 {
                queue.push(item(flows[0], 188, now), &mut pool);
                sent += 1;
            }
            for _ in 0..3 {
                came +=
                    usize::from(queue.pop(now, &mut pool).is_some_and(|item| item.flow.queue == flows[0]));
            }
        }
        let waiting = queue.drain().iter().filter(|item| item.flow.queue == flows[0]).count();
        assert!(queue.stats().aqm_drops > 0);
        assert_eq!(sent, came + waiting, "trial {trial}");
    }
}

#[test]
fn a_queue_within_its_target_drops_nothing() {
    let (mut queue, mut pool) = queue(16 << 20);
    for ms in 0..5_000 {
        queue.push(item(1, 1400, Time::from_millis(ms)), &mut pool);
        queue.pop(Time::from_millis(ms + 5), &mut pool).unwrap();
    }
    assert_eq!(queue.stats(), QueueStats::default());
}
