//! Checks the frame of an Arrow stream before it is read: lengths that a broken stream claims must
//! not make the reader take more memory than the stream has.

use arrow::ipc::{MessageHeader, RecordBatch, root_as_message};

/// Stands before the length of a message in streams since Arrow 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Rows that a batch may have whose columns need no bytes.
const ROWS_WITHOUT_BYTES: i64 = 1 << 20;

/// What is wrong with `stream`, if anything is.
pub(super) fn check(mut stream: &[u8]) -> Result<(), &'static str> {
    while !stream.is_empty() {
        let mut length = take(&mut stream, 4)?;
        if length == CONTINUATION {
            length = take(&mut stream, 4)?;
        }
        let length = i32::from_le_bytes(length.try_into().map_err(|_| "a message is cut off")?);
        if length == 0 {
            return Ok(());
        }
        let metadata = take(&mut stream, i64::from(length))?;
        let message = root_as_message(metadata).map_err(|_| "a message has no valid header")?;
        let body = message.bodyLength();
        take(&mut stream, body)?;
        match message.header_type() {
            MessageHeader::Schema => {}
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("a batch has no header")?;
                check_batch(&batch, body)?;
            }
            _ => return Err("it has messages that are neither a schema nor rows"),
        }
    }
    Ok(())
}

fn take<'a>(stream: &mut &'a [u8], length: i64) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| "a length is negative")?;
    let (taken, rest) = stream.split_at_checked(length).ok_or("it is cut off")?;
    *stream = rest;
    Ok(taken)
}

fn check_batch(batch: &RecordBatch<'_>, body: i64) -> Result<(), &'static str> {
    if batch.compression().is_some() {
        return Err("its rows are compressed");
    }
    // A value takes a bit at least.
    let most = body.saturating_mul(8).max(ROWS_WITHOUT_BYTES);
    let is_plausible = |count: i64| (0..=most).contains(&count);
    let nodes = batch.nodes().into_iter().flatten();
    if !is_plausible(batch.length())
        || !nodes.into_iter().all(|node| is_plausible(node.length()) && is_plausible(node.null_count()))
    {
        return Err("it claims more rows than it has bytes for");
    }
    let is_inside = |offset: i64, length: i64| {
        offset >= 0 && length >= 0 && offset.checked_add(length).is_some_and(|end| end <= body)
    };
    let buffers = batch.buffers().into_iter().flatten();
    if !buffers.into_iter().all(|buffer| is_inside(buffer.offset(), buffer.length())) {
        return Err("its values lie outside of it");
    }
    Ok(())
}
