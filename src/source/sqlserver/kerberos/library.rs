//! MIT Kerberos, which is loaded when it is needed: see [`crate::source::late_library`].
//!
//! Signatures are those of `gssapi.h` (RFC 2744).

use std::ffi::c_int;

use libgssapi_sys::{
    OM_uint32, gss_OID, gss_OID_set, gss_buffer_t, gss_channel_bindings_t, gss_cred_id_t, gss_cred_usage_t,
    gss_ctx_id_t, gss_name_t,
};

use crate::fault::{Fault, FaultKind};
use crate::source::late_library::late_library;

/// Name of the library.
#[cfg(not(target_os = "macos"))]
const LIBRARIES: [&str; 1] = ["libgssapi_krb5.so.2"];
#[cfg(target_os = "macos")]
const LIBRARIES: [&str; 1] = ["/System/Library/Frameworks/GSS.framework/GSS"];

/// `GSS_S_FAILURE`.
const FAILURE: OM_uint32 = 13 << 16;

/// Loads the library, unless it was loaded before.
pub(super) fn load() -> Result<(), Fault> {
    functions().as_ref().map(drop).map_err(|cause| {
        Fault::new(FaultKind::Request, "load MIT Kerberos").because(cause.as_str()).remedy(
            "Install it where the agent runs (Debian: libgssapi-krb5-2, Red Hat: krb5-libs), or name its folder in \
             LD_LIBRARY_PATH.",
        )
    })
}

late_library! {
    libraries: LIBRARIES; returns: OM_uint32; failure: FAILURE;
    gss_acquire_cred(
        minor: *mut OM_uint32, name: gss_name_t, lifetime: OM_uint32, mechanisms: gss_OID_set,
        usage: gss_cred_usage_t, credentials: *mut gss_cred_id_t, actual: *mut gss_OID_set,
        actual_lifetime: *mut OM_uint32,
    );
    gss_add_oid_set_member(minor: *mut OM_uint32, member: gss_OID, set: *mut gss_OID_set);
    gss_create_empty_oid_set(minor: *mut OM_uint32, set: *mut gss_OID_set);
    gss_delete_sec_context(minor: *mut OM_uint32, context: *mut gss_ctx_id_t, token: gss_buffer_t);
    gss_display_status(
        minor: *mut OM_uint32, status: OM_uint32, kind: c_int, mechanism: gss_OID, context: *mut OM_uint32,
        text: gss_buffer_t,
    );
    gss_import_name(minor: *mut OM_uint32, text: gss_buffer_t, kind: gss_OID, name: *mut gss_name_t);
    gss_init_sec_context(
        minor: *mut OM_uint32, credentials: gss_cred_id_t, context: *mut gss_ctx_id_t, target: gss_name_t,
        mechanism: gss_OID, flags: OM_uint32, lifetime: OM_uint32, bindings: gss_channel_bindings_t,
        input: gss_buffer_t, actual: *mut gss_OID, output: gss_buffer_t, actual_flags: *mut OM_uint32,
        actual_lifetime: *mut OM_uint32,
    );
    gss_release_buffer(minor: *mut OM_uint32, buffer: gss_buffer_t);
    gss_release_cred(minor: *mut OM_uint32, credentials: *mut gss_cred_id_t);
    gss_release_name(minor: *mut OM_uint32, name: *mut gss_name_t);
    gss_release_oid_set(minor: *mut OM_uint32, set: *mut gss_OID_set);
}
