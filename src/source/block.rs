//! Where the fields of rows lie in a receive buffer, whatever protocol they come by.

/// A field that ends behind the buffer.
#[derive(Debug)]
pub(super) struct Outside;

/// Where one field lies. A negative length is NULL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) start: u32,
    pub(super) length: i32,
}

/// The fields of a run of rows, row by row, where they lie in the receive buffer.
#[derive(Debug)]
pub(super) struct Block {
    fields: Vec<Field>,
    columns: usize,
    rows: usize,
}

impl Block {
    /// An empty block for rows of so many columns.
    pub(super) fn new(columns: usize) -> Self {
        Self { fields: Vec::new(), columns, rows: 0 }
    }

    /// Fields of each row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Rows in the block.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Forgets the rows.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.rows = 0;
    }

    /// Takes the next field of a row.
    #[inline]
    pub(super) fn push(&mut self, field: Field) {
        self.fields.push(field);
    }

    /// Ends a row, whose fields are all there.
    #[inline]
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// One column's fields out of `bytes`, the buffer that was indexed.
    #[inline]
    pub(super) fn column<'a>(
        &'a self,
        bytes: &'a [u8],
        column: usize,
    ) -> impl Iterator<Item = Result<Option<&'a [u8]>, Outside>> {
        let fields = self.fields.get(column..).unwrap_or_default();
        fields.iter().step_by(self.columns.max(1)).map(move |field| {
            let Ok(length) = usize::try_from(field.length) else { return Ok(None) };
            let start = field.start as usize;
            bytes.get(start..start + length).map(Some).ok_or(Outside)
        })
    }
}

/// A block of one column out of given fields, for the tests of decoders.
#[cfg(test)]
pub(super) fn one_column(fields: &[Option<Vec<u8>>]) -> (Block, Vec<u8>) {
    let mut block = Block::new(1);
    let mut bytes = Vec::new();
    for field in fields {
        let start = bytes.len() as u32;
        let length = field.as_ref().map_or(-1, |field| field.len() as i32);
        bytes.extend_from_slice(field.as_deref().unwrap_or_default());
        block.push(Field { start, length });
        block.end_row();
    }
    (block, bytes)
}
