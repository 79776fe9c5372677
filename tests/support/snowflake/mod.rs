//! A double of Snowflake's protocol, for what no emulator has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use data_exchange_agent::config::Secret;
use data_exchange_agent::snowflake::Connection;
use data_exchange_agent::snowflake::account::AccountName;
use data_exchange_agent::snowflake::authentication::{Authentication, Password};
use data_exchange_agent::snowflake::connection::Protocol;

/// A connection with name and password to `address`, without TLS and without heartbeats.
pub(crate) fn connection_to(address: SocketAddr) -> Connection {
    Connection {
        account: AccountName::parse("test-account").expect("a valid name"),
        host: address.ip().to_string(),
        port: address.port(),
        protocol: Protocol::Http,
        authentication: Authentication::Password(Password {
            user: "tester".to_owned(),
            password: Secret::new("hunter2"),
            passcode: None,
            passcode_in_password: false,
        }),
        role: None,
        warehouse: None,
        database: None,
        schema: None,
        secondary_roles: None,
        session_parameters: BTreeMap::new(),
        login_timeout: Duration::from_secs(60),
        network_timeout: None,
        socket_timeout: Duration::from_secs(60),
        application: "tests".to_owned(),
        keep_alive: false,
        heartbeat_interval: None,
        service_token_file: None,
    }
}
