//! Keys as openssl makes them.

use std::io::Write as _;
use std::process::Stdio;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

/// What openssl writes, given `input`.
#[expect(clippy::disallowed_methods, reason = "a test compares with another program")]
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn rsa() -> Vec<u8> {
    openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], b"")
}

fn curve(name: &str) -> Vec<u8> {
    let option = format!("ec_paramgen_curve:{name}");
    openssl(
        &["genpkey", "-algorithm", "EC", "-pkeyopt", &option, "-pkeyopt", "ec_param_enc:named_curve"],
        b"",
    )
}

/// The public half, as DER.
fn public(key: &[u8]) -> Vec<u8> {
    openssl(&["pkey", "-pubout", "-outform", "DER"], key)
}

fn login_with(key: &[u8], extra: &[(&'static str, Setting)]) -> Connection {
    let key = String::from_utf8(key.to_vec()).unwrap();
    let mut settings = vec![("user", text("ada@example.com")), ("private_key", secret(&key))];
    settings.extend(extra.iter().cloned());
    connection(&settings)
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// Checks a token with the public half of `key`, and returns header and claims.
#[track_caller]
fn verified(token: &Value, key: &[u8], algorithm: &'static dyn VerificationAlgorithm) -> (Value, Value) {
    let token = token.as_str().unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let public = public(key);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(algorithm, &public)
        .verify(message.as_bytes(), &signature)
        .expect("the signature holds");
    let (header, claims) = message.split_once('.').unwrap();
    (part(header), part(claims))
}

#[tokio::test]
async fn a_login_is_signed_as_the_public_key_proves() {
    let key = rsa();
    let connection = login_with(&key, &[]);
    let parts = good(&connection).await;
    assert_eq!(parts.data["AUTHENTICATOR"], "SNOWFLAKE_JWT");
    assert_eq!(parts.data["LOGIN_NAME"], "ada@example.com");
    assert_eq!(parts.data.len(), 3);
    let (header, claims) = verified(&parts.data["TOKEN"], &key, &RSA_PKCS1_2048_8192_SHA256);
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
    let fingerprint = STANDARD.encode(openssl(&["dgst", "-sha256", "-binary"], &public(&key)));
    assert_eq!(claims["sub"], "MYORG-ACCOUNT1.ADA@EXAMPLE.COM");
    assert_eq!(claims["iss"], format!("MYORG-ACCOUNT1.ADA@EXAMPLE.COM.SHA256:{fingerprint}"));
    let now = jiff::Timestamp::now().as_second();
    let (issued, end) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((0..60).contains(&(now - issued)), "{issued} {now}");
    assert_eq!(end - issued, 120);
}

#[tokio::test]
async fn keys_of_curves_sign_too() {
    for (name, algorithm, verification) in [
        ("P-256", "ES256", &ECDSA_P256_SHA256_FIXED as &'static dyn VerificationAlgorithm),
        ("P-384", "ES384", &ECDSA_P384_SHA384_FIXED),
    ] {
        let key = curve(name);
        let parts = good(&login_with(&key, &[])).await;
        let token = parts.data["TOKEN"].as_str().unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let public = ParsedPublicKey::new(verification, public(&key)).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify_sig(message.as_bytes(), &signature).expect("the signature holds");
        let (header, claims) = message.split_once('.').unwrap();
        assert_eq!(part(header)["alg"], algorithm);
        let fingerprint =
            STANDARD.encode(openssl(&["dgst", "-sha256", "-binary"], &super::key_pair::public(&key)));
        assert!(part(claims)["iss"].as_str().unwrap().ends_with(&format!(".SHA256:{fingerprint}")));
    }
}

#[tokio::test]
async fn a_key_is_read_in_every_form_it_travels_in() {
    let key = rsa();
    let pem = String::from_utf8(key.clone()).unwrap();
    let der = STANDARD.encode(openssl(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], &key));
    let forms = [
        pem.replace('\n', "\r\n"),
        pem.replace('\n', "\\n"),
        pem.replace('\n', ""),
        der.clone(),
        format!(" {der}\n"),
    ];
    for form in forms {
        let parts = good(&login_with(form.as_bytes(), &[])).await;
        verified(&parts.data["TOKEN"], &key, &RSA_PKCS1_2048_8192_SHA256);
    }
}

#[tokio::test]
async fn a_key_file_is_read_at_each_login() {
    let (first, second) = (rsa(), rsa());
    let directory = Directory::new();
    let file = directory.write("key.p8", &first);
    let connection = connection(&[("user", text("ada")), ("private_key_file", path(&file))]);
    verified(&good(&connection).await.data["TOKEN"], &first, &RSA_PKCS1_2048_8192_SHA256);
    directory.write("key.p8", &second);
    verified(&good(&connection).await.data["TOKEN"], &second, &RSA_PKCS1_2048_8192_SHA256);
}

#[tokio::test]
async fn encrypted_keys_need_their_passphrase() {
    let key = rsa();
    let ways: [&[&str]; 5] = [
        &["-v2", "aes256"],
        &["-v2", "aes-128-cbc"],
        // As Snowflake's own guide makes them.
        &["-v2", "des3"],
        &["-v2", "aes256", "-v2prf", "hmacWithSHA1"],
        &["-scrypt", "-scrypt_N", "1024"],
    ];
    for way in ways {
        let arguments = [&["pkcs8", "-topk8", "-passout", "pass:open sesame"], way].concat();
        let encrypted = openssl(&arguments, &key);
        let connection = login_with(&encrypted, &[("private_key_file_pwd", secret("open sesame"))]);
        verified(&good(&connection).await.data["TOKEN"], &key, &RSA_PKCS1_2048_8192_SHA256);

        let (kind, text) = bad(&login_with(&encrypted, &[("private_key_file_pwd", secret("wrong"))])).await;
        assert_eq!(kind, FaultKind::Credentials);
        assert_eq!(
            text,
            "use the private key of the connection: the passphrase does not decrypt the key. \
             Correct private_key_file_pwd."
        );
        let (_, text) = bad(&login_with(&encrypted, &[])).await;
        assert_eq!(
            text,
            "use the private key of the connection: the key is encrypted, and there is no passphrase. \
             Set private_key_file_pwd."
        );
    }
    // Without a label, encrypted DER is still known for what it is.
    let der = openssl(&["pkcs8", "-topk8", "-passout", "pass:x", "-v2", "aes256", "-outform", "DER"], &key);
    let connection = login_with(STANDARD.encode(der).as_bytes(), &[("private_key_file_pwd", secret("x"))]);
    verified(&good(&connection).await.data["TOKEN"], &key, &RSA_PKCS1_2048_8192_SHA256);
}

#[tokio::test]
async fn what_is_no_usable_key_is_said_with_the_remedy_and_without_the_key() {
    let key = rsa();
    let short = openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], b"");
    let old = openssl(&["rsa", "-traditional"], &key);
    let public = openssl(&["pkey", "-pubout"], &key);
    let edwards = openssl(&["genpkey", "-algorithm", "ED25519"], b"");
    for (key, expected) in [
        (public.as_slice(), "this is a public key"),
        (&old, "the key is not in the format PKCS#8. Convert it: openssl pkcs8 -topk8"),
        (&short, "this is neither an RSA key of 2048 bits or more nor a key of the curves"),
        (&edwards, "this is neither an RSA key of 2048 bits or more nor a key of the curves"),
        (b"hunter2!", "this is neither PEM nor base64"),
        (b"-----BEGIN PRIVATE KEY-----\nhunter2", "this is neither PEM nor base64"),
        (
            b"-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----",
            "this is neither PEM nor base64",
        ),
        (b"aHVudGVyMg==", "this is neither an RSA key"),
    ] {
        let (kind, text) = bad(&login_with(key, &[])).await;
        assert_eq!(kind, FaultKind::Credentials);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_key_file_that_is_not_there_is_named() {
    let (_, text) =
        bad(&connection(&[("user", text("ada")), ("private_key_file", path(Path::new("/nowhere/key.p8")))]))
            .await;
    assert!(text.starts_with("read the private key /nowhere/key.p8: No such file or directory"), "{text}");
}
