//! The target `s3`.

use std::num::NonZeroUsize;

use super::*;

#[track_caller]
fn s3(lines: &str) -> S3Target {
    match good(&format!("[connections.target.s3]\nbucket_name = \"lake\"\n{lines}")).targets.remove("s3") {
        Some(TargetConnection::S3(target)) => target,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn bad_s3(lines: &str) -> String {
    bad(&format!("[connections.target.s3]\nbucket_name = \"lake\"\n{lines}\n"))
        .replace("configuration.toml:3: connections.target.s3.", "")
}

#[test]
fn s3_is_proven() {
    assert_eq!(
        s3(""),
        S3Target {
            bucket_name: "lake".into(),
            prefix: String::new(),
            profile_name: None,
            region_name: None,
            endpoint_url: None,
            path_style: false,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            encryption: None,
            part_size: NonZeroUsize::new(8 << 20).unwrap(),
            parallel_parts: NonZeroUsize::new(2).unwrap(),
            request_timeout: Duration::from_secs(60),
        }
    );
    for (prefix, expected) in [("", ""), ("/", ""), ("a", "a/"), ("/a/b/", "a/b/"), ("a/", "a/")] {
        assert_eq!(s3(&format!("prefix = \"{prefix}\"")).prefix, expected, "{prefix}");
    }
    let target =
        s3("region_name = \"eu-west-1\"\nendpoint_url = \"http://127.0.0.1:9000\"\npath_style = true\n\
         access_key_id = \"AK\"\nsecret_access_key = \"SK\"\nsession_token = \"ST\"\n\
         server_side_encryption = \"aws:kms\"\nkms_key_id = \"key\"\npart_size = \"5 MiB\"\n\
         parallel_parts = 16\nrequest_timeout = \"2m\"");
    assert_eq!(target.endpoint_url.as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!(target.encryption, Some(S3Encryption::Kms { key_id: Some("key".into()) }));
    assert_eq!(target.session_token, Some(Secret::new("ST")));
    assert_eq!(target.part_size.get(), 5 << 20);
    assert_eq!(target.request_timeout, Duration::from_secs(120));
    assert_eq!(s3("server_side_encryption = \"AES256\"").encryption, Some(S3Encryption::Aes256));
    for (lines, expected) in [
        (
            "access_key_id = \"AK\"",
            "access_key_id is given without secret_access_key. Add it, or leave both out.",
        ),
        (
            "secret_access_key = \"SK\"",
            "secret_access_key is given without access_key_id. Add it, or leave both out.",
        ),
        (
            "session_token = \"ST\"",
            "session_token is given without access_key_id. \
             Add access_key_id and secret_access_key, or leave it out.",
        ),
        (
            "profile_name = \"p\"\naccess_key_id = \"AK\"\nsecret_access_key = \"SK\"",
            "profile_name is given beside access_key_id. Keep one of them.",
        ),
        (
            "kms_key_id = \"k\"",
            "kms_key_id is given without server_side_encryption = \"aws:kms\". Add that, or leave the key out.",
        ),
        (
            "server_side_encryption = \"aes256\"",
            "server_side_encryption is the string \"aes256\"; expected one of \"AES256\", \"aws:kms\"",
        ),
        (
            "endpoint_url = \"storage:9000\"",
            "endpoint_url is not a URL such as \"https://storage.example.com:9000\", without user, query and \
             fragment",
        ),
        ("parallel_parts = 17", "parallel_parts is 17; expected an integer from 1 to 16"),
        (
            "part_size = \"1 MiB\"",
            "part_size is the string \"1 MiB\"; expected a size from 5 MiB to 5 GiB, in bytes or as a text like \
             \"64 MiB\", \"8MB\"",
        ),
    ] {
        assert_eq!(bad_s3(lines), expected);
    }
    for name in ["ab", "a/b", "a b", "-é-"] {
        let problem = bad(&format!("[connections.target.s3]\nbucket_name = \"{name}\""));
        assert!(problem.contains("of 3 to 63 letters"), "{problem}");
    }
    let arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake";
    good(&format!("[connections.target.s3]\nbucket_name = \"{arn}\""));
}
