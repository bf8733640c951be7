//! What the links' owner wants of them: which may be used now, and how fast.

use super::{Role, Session};
use crate::link::{Link, LinkId, WanId};
use crate::preference::{Preference, Tier};
use crate::scheduler::Candidate;

use super::slot::LinkState;

impl<L: Link> Session<L> {
    /// From now on a WAN, and each link that it will have, is used so. A client tells the peer, as far as the protocol can.
    pub fn prefer(&mut self, wan: WanId, preference: Preference) {
        self.preferences.insert(wan, preference);
        self.apply_preference(wan);
        self.update_usable();
    }

    /// The client says how it wants a link used.
    pub(super) fn take_preference(&mut self, id: LinkId, preference: Preference) {
        if self.role == Role::Client {
            return;
        }
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
            slot.preference = preference;
            slot.link.prefer(&preference, preference.cap(Role::Server, 1));
        }
        self.update_usable();
    }

    /// Tells a client's links of a WAN what is wanted of them; they share its cap.
    pub(super) fn apply_preference(&mut self, wan: WanId) {
        let Some(&preference) = self.preferences.get(&wan) else { return };
        let count = self.slots.iter().filter(|slot| slot.wan == wan).count();
        for slot in self.slots.iter_mut().filter(|slot| slot.wan == wan) {
            slot.preference = preference;
            slot.link.prefer(&preference, preference.cap(self.role, count));
        }
    }

    /// Links that are up; when there are none, those that are suspect: late is better than never. Of these no backup while
    /// there is another. A scheduler that chooses when a packet comes has only the first tier of them.
    pub(super) fn update_usable(&mut self) {
        let usable = |wanted: fn(&LinkState) -> bool| {
            let positions = 0..self.slots.len();
            positions.filter(|&position| wanted(&self.slots[position].state)).collect::<Vec<_>>()
        };
        self.usable = usable(|state| *state == LinkState::Up);
        if self.usable.is_empty() {
            self.usable = usable(|state| matches!(state, LinkState::Suspect { .. }));
        }
        let tier = |position: usize| self.slots[position].preference.tier;
        let best = self.usable.iter().map(|&position| tier(position)).min().unwrap_or_default();
        if best != Tier::Backup {
            self.usable.retain(|&position| tier(position) != Tier::Backup);
        }
        self.candidates.clear();
        self.candidates.extend(self.usable.iter().filter(|&&position| tier(position) == best).map(
            |&position| {
                let slot = &self.slots[position];
                Candidate { key: slot.link.key(), weight: slot.preference.weight, position }
            },
        ));
    }
}
