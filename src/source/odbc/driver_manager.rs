//! unixODBC, which is loaded when it is needed: see [`crate::source::late_library`].
//!
//! Signatures are those of odbc-sys, which are those of `sql.h` and `sqlext.h`.

#![expect(non_snake_case, reason = "the names are those of ODBC")]

use odbc_api::sys::{
    CDataType, CompletionType, ConnectionAttribute, Desc, DriverConnectOption, EnvironmentAttribute,
    FetchOrientation, FreeStmtOption, HDbc, HEnv, HStmt, HWnd, Handle, HandleType, InfoType, Len,
    Nullability, Pointer, SqlDataType, SqlReturn, StatementAttribute, ULen, WChar,
};

use crate::fault::{Fault, FaultKind};
use crate::source::late_library::late_library;

/// Names of the library: that of the packages, and that of development packages and of installations by hand.
#[cfg(not(target_os = "macos"))]
const LIBRARIES: [&str; 2] = ["libodbc.so.2", "libodbc.so"];
#[cfg(target_os = "macos")]
const LIBRARIES: [&str; 2] = ["libodbc.2.dylib", "libodbc.dylib"];

/// Loads the library, unless it was loaded before.
pub(super) fn load() -> Result<(), Fault> {
    functions().as_ref().map(drop).map_err(|cause| {
        Fault::new(FaultKind::Request, "load unixODBC, the driver manager of ODBC").because(cause.as_str()).remedy(
            "Install it where the agent runs (Debian: libodbc2, Red Hat: unixODBC), or name its folder in \
             LD_LIBRARY_PATH.",
        )
    })
}

late_library! {
    libraries: LIBRARIES; returns: SqlReturn; failure: SqlReturn::ERROR;

    SQLAllocHandle(kind: HandleType, input: Handle, output: *mut Handle);
    SQLBindCol(statement: HStmt, number: u16, kind: CDataType, value: Pointer, room: Len, length: *mut Len);
    SQLCancel(statement: HStmt);
    SQLCloseCursor(statement: HStmt);
    SQLColAttributeW(
        statement: HStmt, number: u16, field: Desc, text: Pointer, room: i16, length: *mut i16, value: *mut Len
    );
    SQLDescribeColW(
        statement: HStmt, number: u16, name: *mut WChar, room: i16, length: *mut i16, kind: *mut SqlDataType,
        size: *mut ULen, digits: *mut i16, nullable: *mut Nullability
    );
    SQLDisconnect(connection: HDbc);
    SQLDriverConnectW(
        connection: HDbc, window: HWnd, string: *const WChar, length: i16, completed: *mut WChar, room: i16,
        completed_length: *mut i16, completion: DriverConnectOption
    );
    SQLDriversW(
        environment: HEnv, direction: FetchOrientation, description: *mut WChar, room: i16, length: *mut i16,
        attributes: *mut WChar, attributes_room: i16, attributes_length: *mut i16
    );
    SQLEndTran(kind: HandleType, handle: Handle, completion: CompletionType);
    SQLExecDirectW(statement: HStmt, text: *const WChar, length: i32);
    SQLExecute(statement: HStmt);
    SQLFetch(statement: HStmt);
    SQLFreeHandle(kind: HandleType, handle: Handle);
    SQLFreeStmt(statement: HStmt, option: FreeStmtOption);
    SQLGetData(
        statement: HStmt, number: u16, kind: CDataType, value: Pointer, room: Len, length: *mut Len
    );
    SQLGetDiagRecW(
        kind: HandleType, handle: Handle, number: i16, state: *mut WChar, native: *mut i32, text: *mut WChar,
        room: i16, length: *mut i16
    );
    SQLGetInfoW(connection: HDbc, what: InfoType, value: Pointer, room: i16, length: *mut i16);
    SQLGetStmtAttrW(
        statement: HStmt, attribute: StatementAttribute, value: Pointer, room: i32, length: *mut i32
    );
    SQLNumResultCols(statement: HStmt, count: *mut i16);
    SQLParamData(statement: HStmt, value: *mut Pointer);
    SQLPrepareW(statement: HStmt, text: *const WChar, length: i32);
    SQLPutData(statement: HStmt, data: Pointer, length: Len);
    SQLSetConnectAttrW(connection: HDbc, attribute: ConnectionAttribute, value: Pointer, length: i32);
    SQLSetEnvAttr(environment: HEnv, attribute: EnvironmentAttribute, value: Pointer, length: i32);
    SQLSetStmtAttrW(statement: HStmt, attribute: StatementAttribute, value: Pointer, length: i32);
}
