//! A target: opened, and one small file written, made visible and deleted, as tasks do it.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;

use super::limited;
use crate::destination::{Destination, PartName, Target, Upload};
use crate::fault::{Fault, FaultKind};
use crate::task::{Compression, DestinationKind, FileFormat, TaskId};

/// Opens the target. With a `place`, which nobody else uses, a file is written there and deleted again.
///
/// Each step has the time of one check, so that a write that takes too long can still be taken back.
pub(super) async fn check(
    destination: &dyn Destination,
    kind: DestinationKind,
    place: Option<String>,
) -> Result<String, Fault> {
    limited(destination.check()).await?;
    let Some(path) = place else { return Ok("opened".to_owned()) };
    let task = TaskId::parse("check").expect("a valid id");
    let name = PartName::new(&task, NonZeroU32::MIN, FileFormat::Csv, Compression::None);
    let target = Target { task, attempt: 1, path, load: None };
    let mut upload = None;
    let written = limited(write(destination, &target, &name, &mut upload)).await;
    let location = match written {
        Ok(location) => location,
        Err(fault) => return Err(take_back(destination, &target, &name, upload, fault).await),
    };
    // By its name: to retract a task deletes what a listing shows, and so nothing without the right to list.
    let deleted = limited(destination.delete(&target, &name)).await;
    deleted.map_err(|fault| not_deleted(fault, &location, kind))?;
    Ok("opened, wrote a file and deleted it".to_owned())
}

/// Writes the file, makes it visible, and returns where it is. What was opened for it is in `begun`, however
/// this ends.
async fn write(
    destination: &dyn Destination,
    target: &Target,
    name: &PartName,
    begun: &mut Option<Arc<dyn Upload>>,
) -> Result<String, Fault> {
    let opened = destination.begin(target).await?;
    let upload = begun.insert(opened);
    let mut part = upload.create(name).await?;
    part.write(Bytes::from_static(b"written by a check, which deletes it\n")).await?;
    let stored = part.finish(0).await?;
    let receipts = upload.commit(vec![stored]).await?;
    Ok(receipts.into_iter().next().map_or_else(|| name.to_string(), |receipt| receipt.location))
}

/// Removes what a failed write has left: the store may have carried out what it gave no answer to.
async fn take_back(
    destination: &dyn Destination,
    target: &Target,
    name: &PartName,
    upload: Option<Arc<dyn Upload>>,
    fault: Fault,
) -> Fault {
    let Some(upload) = upload else { return fault };
    let removal = async {
        upload.abort().await;
        destination.delete(target, name).await
    };
    let is_removed = limited(removal).await.is_ok();
    // What was refused for good has left no file.
    if is_removed || !fault.kind().is_retryable() {
        return fault;
    }
    fault.while_doing(format!("write a file, which may be left as `{name}` in `{}`", target.path))
}

/// Says which file is left, and what has to be done about it.
fn not_deleted(fault: Fault, location: &str, kind: DestinationKind) -> Fault {
    let stays = if fault.kind().is_retryable() { "may be left" } else { "is left" };
    let mut remedy = fault.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
    if fault.kind() == FaultKind::Permission {
        remedy += &format!("To delete takes {}. ", right_to_delete(kind));
    }
    remedy += "Then delete this file.";
    fault.while_doing(format!("delete the file that was written; `{location}` {stays}")).remedy(remedy)
}

fn right_to_delete(kind: DestinationKind) -> &'static str {
    match kind {
        DestinationKind::Local => "the right to write to the directory",
        DestinationKind::S3 => "s3:DeleteObject",
        DestinationKind::Blob => {
            "the role Storage Blob Data Contributor, or the right delete (`d`) of a shared access signature"
        }
        DestinationKind::Gcs => "storage.objects.delete",
        DestinationKind::SnowflakeStage => "WRITE on the stage",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_deleted_is_named_with_what_is_missing() {
        let fault = Fault::new(FaultKind::Permission, "delete `x`").remedy("Allow it.");
        let fault = not_deleted(fault, "s3://lake/x", DestinationKind::S3);
        assert_eq!(fault.chain(), "delete the file that was written; `s3://lake/x` is left: delete `x`");
        assert_eq!(
            fault.hint(),
            Some("Allow it. To delete takes s3:DeleteObject. Then delete this file."),
            "{fault:?}"
        );
        assert_eq!(fault.kind(), FaultKind::Permission);

        let fault = Fault::new(FaultKind::Transient, "delete `x`");
        let fault = not_deleted(fault, "gs://lake/x", DestinationKind::Gcs);
        assert!(fault.to_string().ends_with("`gs://lake/x` may be left"), "{fault}");
        assert_eq!(fault.hint(), Some("Then delete this file."));
    }
}
