//! How many slices see one picture of the data, and how.

use std::num::NonZeroUsize;

use super::describe::Standing;
use crate::config::SqlServerConsistency;
use crate::fault::{Fault, FaultKind};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) consistency: SqlServerConsistency,
    pub(super) slices: NonZeroUsize,
    /// A table of the database is read, and no query or view.
    pub(super) is_table: bool,
    /// Its hints undo snapshots.
    pub(super) undoes_snapshots: bool,
}

/// How many slices may be read at the same time, and whether under snapshots.
pub(super) fn plan(standing: Standing, wish: Wish) -> Result<(NonZeroUsize, bool), Fault> {
    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    let several = wish.slices > ONE;
    if wish.consistency != SqlServerConsistency::Serial && wish.undoes_snapshots {
        tracing::warn!(
            "one slice, and rows that move while they are read can be read twice or missed: `table_hint` undoes \
             snapshots; remove it, or set consistency = \"serial\" to say that this is meant"
        );
        return Ok((ONE, false));
    }
    Ok(match wish.consistency {
        SqlServerConsistency::Serial => (ONE, false),
        SqlServerConsistency::Snapshot if !standing.snapshots_allowed => {
            return Err(Fault::new(FaultKind::Request, "begin a snapshot transaction")
                .because("the database does not allow snapshot isolation")
                .remedy("Run ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON, or set consistency = \"serial\" on the connection."));
        }
        SqlServerConsistency::Snapshot => (wish.slices, true),
        SqlServerConsistency::Exact if !standing.snapshots_allowed => {
            if standing.can_be_written && !standing.reads_committed_snapshots {
                tracing::warn!(
                    "rows that move while they are read can be read twice or missed: the database has neither \
                     ALLOW_SNAPSHOT_ISOLATION nor READ_COMMITTED_SNAPSHOT on; turn one of them on, or set \
                     consistency = \"serial\" to say that this is meant"
                );
            }
            if several {
                tracing::info!("one slice: the database does not allow snapshot isolation");
            }
            (ONE, false)
        }
        SqlServerConsistency::Exact if several && !(wish.is_table && standing.can_be_written) => {
            tracing::info!(
                "one slice: only a table of a writable database can be held still while several \
                 snapshots are taken; consistency = \"snapshot\" takes them without"
            );
            (ONE, true)
        }
        SqlServerConsistency::Exact => (wish.slices, true),
    })
}
