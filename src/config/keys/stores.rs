//! Keys of files and stores: `kind = "sqlite"`, `"local"`, `"s3"`, `"blob"` and `"gcs"`.

use super::connection::{
    AWS_ENDPOINT, AWS_PROFILE, KIND, PARALLEL_PARTS, PART_SIZE, PREFIX, REQUEST_TIMEOUT,
};
use super::{Key, REQUIRED, key};

pub(in crate::config) const SQLITE: &[Key] =
    &[KIND, key("path", "path", REQUIRED, "The database file; opened read-only.")];

pub(in crate::config) const LOCAL: &[Key] =
    &[KIND, key("root", "path", REQUIRED, "Every task's path stays below this directory.")];

pub(in crate::config) const S3: &[Key] = &[
    KIND,
    key("bucket_name", "string", REQUIRED, "Bucket, or the ARN of an access point."),
    PREFIX,
    AWS_PROFILE,
    key("region_name", "string, not blank", "", "Region; from profile or environment when absent."),
    AWS_ENDPOINT,
    key(
        "path_style",
        "boolean",
        "false",
        "`http://host/bucket/key` in place of `http://bucket.host/key`; most other stores need it.",
    ),
    key(
        "access_key_id",
        "string, not blank",
        "",
        "Access key, when it is not to come from profile, environment, web identity or instance.",
    ),
    key("secret_access_key", "secret", "", "Goes with `access_key_id`."),
    key("session_token", "secret", "", "Goes with temporary keys."),
    key(
        "server_side_encryption",
        "`\"AES256\"`, `\"aws:kms\"`",
        "",
        "Server-side encryption; that of the bucket when absent.",
    ),
    key(
        "kms_key_id",
        "string, not blank",
        "",
        "Key id or ARN for `aws:kms`; the account's default key when absent.",
    ),
    PART_SIZE,
    PARALLEL_PARTS,
    REQUEST_TIMEOUT,
];

pub(in crate::config) const BLOB: &[Key] = &[
    KIND,
    key("container_name", "string", REQUIRED, "Container."),
    PREFIX,
    key(
        "connection_string",
        "secret",
        "",
        "Connection string of the storage account, with a key or a shared access signature.",
    ),
    key("account_name", "string", "", "Storage account, when there is no connection string."),
    key("account_key", "secret", "", "Key of the account."),
    key("sas_token", "secret", "", "Shared access signature of the account or of the container."),
    key(
        "use_default_credential",
        "boolean",
        "false",
        "Log in with client secret or workload identity of the environment, managed identity, or `az login`.",
    ),
    key("endpoint_url", "URL, http or https", "", "Another blob endpoint than that of the account in Azure."),
    key("part_size", "size, 1 MiB to 4000 MiB", "\"8 MiB\"", "Bytes of one block."),
    key("parallel_parts", "integer, 1 to 16", "2", "Blocks of one file that are uploaded at the same time."),
    REQUEST_TIMEOUT,
];

pub(in crate::config) const GCS: &[Key] = &[
    KIND,
    key("bucket_name", "string", REQUIRED, "Bucket."),
    PREFIX,
    key(
        "service_account_file",
        "path",
        "",
        "Key file of a service account; the application default credentials when absent.",
    ),
    key(
        "endpoint_url",
        "URL, http or https",
        "\"https://storage.googleapis.com\"",
        "Endpoint of the XML API.",
    ),
    PART_SIZE,
    PARALLEL_PARTS,
    REQUEST_TIMEOUT,
];
