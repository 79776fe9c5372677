//! An entry for the fuzzer: any bytes as the answer to a PUT or GET.

use bytes::BytesMut;
use serde_json::Value;

use super::Answer;
use super::encryption::{Decryptor, Encryptor};

/// Reads `input` as an answer. What is read without a mistake is enough to encrypt a file that can be
/// decrypted again.
pub fn read_answer(input: &[u8]) {
    const CONTENT: &[u8] = b"rows of a file";

    let Ok(data) = serde_json::from_slice::<Value>(input) else { return };
    let answer = match Answer::read(&data) {
        Ok(answer) => answer,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "an error is one line");
            return;
        }
    };
    for material in &answer.encryption {
        let (encryptor, metadata) = Encryptor::new(material).expect("a key that was read can be used");
        let mut stored = BytesMut::from(CONTENT);
        encryptor.finish(&mut stored).expect("memory is encrypted");
        let key = (&metadata.wrapped_key, &metadata.initialization_vector);
        let mut decryptor = Decryptor::new(&material.master_key, key.0, key.1).expect("the same key");
        let mut content = decryptor.decrypt(&stored).expect("whole blocks").to_vec();
        content.extend(decryptor.finish().expect("the padding is good"));
        assert_eq!(content, CONTENT);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn seeds() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/stage_answer");
        let files = fs::read_dir(folder).expect("the seeds are part of the repository");
        files.map(|file| fs::read(file.expect("an entry").path()).expect("a seed")).collect()
    }

    #[test]
    fn every_seed_of_the_fuzzer_is_read() {
        assert!(seeds().len() >= 6);
        for seed in seeds() {
            read_answer(&seed);
        }
        let is_good = |seed: &Vec<u8>| {
            serde_json::from_slice(seed).is_ok_and(|data: Value| Answer::read(&data).is_ok())
        };
        assert!(seeds().iter().filter(|seed| is_good(seed)).count() >= 4, "most seeds are good answers");
    }

    proptest! {
        #[test]
        fn a_changed_answer_is_read_or_refused(
            seed in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut answer = seed.get(&seeds()).clone();
            for (place, byte) in changes {
                let place = place.index(answer.len());
                answer[place] = byte;
            }
            read_answer(&answer);
        }
    }
}
