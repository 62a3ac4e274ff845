//! The screen: themes, the degrade pass, the gauges row.

pub mod degrade;
pub mod gauge_bar;
pub mod theme;
