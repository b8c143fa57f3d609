//! Which weights: a number that tells whether two records of a model are the same.

use burn::store::{ModuleRecord, RecordError};
use burn_pack::Reader;

/// A number of all bits of a record, the same before and after it was in a file (FNV-1a).
pub(crate) fn fingerprint(record: &ModuleRecord) -> Result<u64, RecordError> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let mut tensors = Reader::from_bytes(record.clone().into_bytes()?)?
        .into_tensors()?
        .into_iter()
        .map(burn_pack::Tensor::into_parts)
        .collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, dtype, shape, _, bytes) in tensors {
        add(format!("{name}: {dtype:?} {shape:?};").as_bytes());
        add(&bytes);
    }
    Ok(hash)
}
