//! Whose port it is: a server serves one client a port, and the newest wins.
//!
//! Stock tells clients apart by nothing: two machines on one port share its conversations, and each takes the other's
//! away every other second. Ours says in its HELLO which running program it is. One that comes new evicts the links of
//! the one before, which then stays out for as long as the newer has a link. Anybody who can send to the port can
//! draw a number, as he could take the conversations before: nothing here is a protection.

use std::collections::VecDeque;

/// Why the links of the older client leave.
pub(super) const EVICTED: &str = "another client has connected to this port since, and a port serves one";
/// Why the older client is kept out.
pub(super) const SUPERSEDED: &str = "another client has connected to this port since, and a port serves one; \
     give each machine a port of its own, or a key of its own with `ratbond client add`";

/// Programs that are remembered to have lost their place.
const REMEMBERED: usize = 16;

/// The client whose port it is, and who had it before.
#[derive(Debug, Default)]
pub(super) struct Tenancy {
    present: Option<u64>,
    past: VecDeque<u64>,
}

impl Tenancy {
    /// Whether a newer client has taken this one's place.
    pub(super) fn is_superseded(&self, instance: u64) -> bool {
        self.past.contains(&instance)
    }

    /// A client opens a link; true when the port was another's.
    pub(super) fn enter(&mut self, instance: u64) -> bool {
        if self.present == Some(instance) {
            return false;
        }
        let before = self.present.replace(instance);
        self.past.retain(|&past| past != instance);
        self.past.extend(before);
        if self.past.len() > REMEMBERED {
            self.past.pop_front();
        }
        before.is_some()
    }
}
