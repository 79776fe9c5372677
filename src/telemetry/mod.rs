//! What the agent tells about itself: logs and metrics.

mod log;
mod metrics;

pub use log::{LogFormat, init_logging};
pub use metrics::{Gauges, Metrics};
