//! What a connection to a store is.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Secret;

/// `kind = "s3"`.
#[derive(Clone, Debug, PartialEq)]
pub struct S3Target {
    /// Bucket.
    pub bucket_name: String,
    /// Prefix before every task's path; empty, or ending in `/`.
    pub prefix: String,
    /// Profile of the shared AWS configuration files.
    pub profile_name: Option<String>,
    /// Region; from profile or environment when `None`.
    pub region_name: Option<String>,
    /// Another endpoint than Amazon's.
    pub endpoint_url: Option<String>,
    /// `http://host/bucket/key` in place of `http://bucket.host/key`.
    pub path_style: bool,
    /// Access key, when it is not to come from profile, environment, web identity or instance.
    pub access_key_id: Option<String>,
    /// Goes with `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Goes with temporary keys.
    pub session_token: Option<Secret>,
    /// Server-side encryption.
    pub encryption: Option<S3Encryption>,
    /// Bytes of one part of a multipart upload; 5 MiB to 5 GiB.
    pub part_size: NonZeroUsize,
    /// Parts of one file that are uploaded at the same time.
    pub parallel_parts: NonZeroUsize,
    /// Longest time for one request attempt without progress.
    pub request_timeout: Duration,
}

/// Server-side encryption of S3 objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// `AES256`: keys of the store.
    Aes256,
    /// `aws:kms`, with a key or the account's default one.
    Kms {
        /// Key id or ARN.
        key_id: Option<String>,
    },
}

/// `kind = "blob"`.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureBlobTarget {
    /// Blob endpoint of the account, without a slash at its end.
    pub endpoint_url: String,
    /// Container.
    pub container_name: String,
    /// Prefix before every task's path; empty, or ending in `/`.
    pub prefix: String,
    /// How to log in.
    pub credentials: AzureCredentials,
    /// Bytes of one block; 1 MiB to 4000 MiB.
    pub part_size: NonZeroUsize,
    /// Blocks of one file that are uploaded at the same time.
    pub parallel_parts: NonZeroUsize,
    /// Longest time for one request attempt without what its body needs.
    pub request_timeout: Duration,
}

/// How to log in to Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureCredentials {
    /// The key of the account.
    AccountKey {
        /// Account.
        account_name: String,
        /// Key, in base64.
        account_key: Secret,
    },
    /// A shared access signature, without `?`.
    SharedAccessSignature(Secret),
    /// Client secret, workload identity, managed identity or the Azure command line.
    Default(Box<AzureIdentity>),
}

/// What the default credential of Azure finds in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureIdentity {
    /// `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// `AZURE_CLIENT_ID`: of an application, or of a managed identity.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`, with a scheme and without a slash at its end.
    pub authority_host: String,
    /// Where managed identities are asked for.
    pub managed_identity: ManagedIdentity,
}

/// Who gives the tokens of managed identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedIdentity {
    /// App Service, Functions and Container Apps.
    AppService {
        /// `IDENTITY_ENDPOINT`.
        endpoint: String,
        /// `IDENTITY_HEADER`.
        header: Secret,
    },
    /// The metadata service of a virtual machine or a cluster.
    Machine {
        /// Scheme and host.
        endpoint: String,
    },
}

/// `kind = "gcs"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsTarget {
    /// Bucket.
    pub bucket_name: String,
    /// Prefix before every task's path; empty, or ending in `/`.
    pub prefix: String,
    /// Endpoint of the XML API, without a slash at its end.
    pub endpoint_url: String,
    /// How to log in.
    pub credentials: GoogleCredentials,
    /// Bytes of one part of a multipart upload; 5 MiB to 5 GiB.
    pub part_size: NonZeroUsize,
    /// Parts of one file that are uploaded at the same time.
    pub parallel_parts: NonZeroUsize,
    /// Longest time for one request attempt without what its body needs.
    pub request_timeout: Duration,
}

/// How to log in to Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoogleCredentials {
    /// A credentials file: the key of a service account, or another kind that the default
    /// credentials know.
    File(PathBuf),
    /// The application default credentials.
    Default {
        /// The file of `gcloud auth application-default login`, where it would be.
        user_file: Option<PathBuf>,
        /// Scheme and host of the metadata server.
        metadata_endpoint: String,
    },
}
