//! What the agent tells about itself: logs and metrics.

mod attempt_log;
mod log;
mod metrics;
mod otlp;

pub use attempt_log::{AttemptLine, AttemptLog, LineSink};
pub use log::{
    Change, CurrentLevel, LevelError, LogControl, LogFormat, LogGuard, LogLevel, LogOptions,
    RotationSettings, init_logging, start_logging,
};
pub use metrics::{Gauges, LeaseRefresh, Metrics};
pub use otlp::{OtlpSender, Traces, continue_trace, push_metrics};
