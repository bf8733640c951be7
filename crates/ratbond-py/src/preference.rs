//! `Preference`: what is wanted of a link.

use pyo3::prelude::*;
use ratbond_proto::preference::{MAX_WEIGHT, Preference, Tier};

use crate::error::usage;

/// `Preference` of `_core.pyi`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Wanted {
    tier: String,
    up_bps: Option<u64>,
    down_bps: Option<u64>,
    weight: u16,
}

impl Wanted {
    pub(crate) fn into_engine(self) -> PyResult<Preference> {
        let tier = match self.tier.as_str() {
            "primary" => Tier::Primary,
            "secondary" => Tier::Secondary,
            "backup" => Tier::Backup,
            other => return Err(usage(format!("no such tier: {other}"))),
        };
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            return Err(usage(format!("a weight is 1 to {MAX_WEIGHT}, not {}", self.weight)));
        }
        if [self.up_bps, self.down_bps].contains(&Some(0)) {
            return Err(usage("a cap of nothing: leave the link out instead"));
        }
        Ok(Preference { tier, up_bps: self.up_bps, down_bps: self.down_bps, weight: self.weight })
    }
}

/// A tier by the name that a user gives it.
pub(crate) fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Primary => "primary",
        Tier::Secondary => "secondary",
        Tier::Backup => "backup",
    }
}
