//! Values of a fixed width.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use odbc_api::buffers::AnyColumnBufferSlice;
use odbc_api::sys::NULL_DATA;
use odbc_api::{CursorRow, Nullable, Pod};

use super::{ColumnDecoder, Invalid};
use crate::source::fixed_width::{Booleans, Primitives};

/// From a value of C to one of Arrow.
pub(super) trait Cell: Send {
    type C: Pod + Default + Copy + Send;
    type Arrow: ArrowPrimitiveType;

    fn read(value: Self::C) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Invalid>;
}

macro_rules! same {
    ($($name:ident: $c:ty => $arrow:ty),* $(,)?) => {$(
        pub(super) struct $name;

        impl Cell for $name {
            type C = $c;
            type Arrow = $arrow;

            #[inline]
            fn read(value: $c) -> Result<$c, Invalid> {
                Ok(value)
            }
        }
    )*};
}

same! {
    Int2: i16 => Int16Type,
    Int4: i32 => Int32Type,
    Int8: i64 => Int64Type,
    Float8: f64 => Float64Type,
}

/// A float that arrives as a double.
pub(super) struct Float4;

impl Cell for Float4 {
    type C = f64;
    type Arrow = Float32Type;

    #[inline]
    fn read(value: f64) -> Result<f32, Invalid> {
        Ok(value as f32)
    }
}

/// Gathers values of one kind.
pub(super) struct Fixed<K: Cell>(Primitives<K::Arrow>);

impl<K: Cell> Fixed<K> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self(Primitives::new(data_type))
    }

    #[inline]
    fn push(&mut self, value: Option<K::C>) -> Result<(), Invalid> {
        self.0.push(value.map(K::read).transpose()?);
        Ok(())
    }
}

impl<K: Cell> ColumnDecoder for Fixed<K> {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        let (values, indicators) =
            cells.as_nullable_slice::<K::C>().ok_or(Invalid::OtherBuffer)?.raw_values();
        self.0.reserve(values.len());
        for (value, indicator) in values.iter().zip(indicators) {
            self.push((*indicator != NULL_DATA).then_some(*value))?;
        }
        Ok(())
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        let mut cell = Nullable::<K::C>::null();
        row.get_data(number, &mut cell)?;
        self.push(cell.into_opt())
    }

    fn byte_size(&self) -> usize {
        self.0.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.0.take_array())
    }
}

/// Bytes; some drivers send other numbers than 0 and 1.
impl ColumnDecoder for Booleans {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        let (values, indicators) = cells.as_nullable_slice::<i8>().ok_or(Invalid::OtherBuffer)?.raw_values();
        for (value, indicator) in values.iter().zip(indicators) {
            self.push((*indicator != NULL_DATA).then_some(*value != 0));
        }
        Ok(())
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        let mut cell = Nullable::<i8>::null();
        row.get_data(number, &mut cell)?;
        self.push(cell.into_opt().map(|value| value != 0));
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.len().div_ceil(8)
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.take_array())
    }
}
