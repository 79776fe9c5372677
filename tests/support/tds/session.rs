//! One session: TLS, the login, and then batches until the client goes away.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::answers::{Answer, SP_PREPARE, answer, called, cast_column, chosen, is_of_texts};
use super::login::{agree, answer_login, log_in};
use super::packets::{ATTENTION, BATCH, Both, CALL, Sender, receive, send};
use super::tunnel::Tunnel;
use super::wire::{self, Column, Rows};
use super::{Encryption, End, Log, Script, Seen};

pub(super) async fn serve(socket: TcpStream, script: &Script, log: &Log) -> io::Result<()> {
    let acceptor = |strict| script.certificate.as_ref().expect("a certificate for TLS").acceptor(strict);
    if script.encryption == Encryption::Strict {
        let mut stream = acceptor(true).accept(socket).await?;
        agree(&mut stream, Encryption::NotSupported, script).await?;
        log_in(&mut stream, script, log, true).await?;
        return batches(&mut stream, script, log).await;
    }
    let mut socket = socket;
    let wanted = agree(&mut socket, script.encryption, script).await?;
    if script.encryption == Encryption::Cut {
        // The client's greeting has arrived.
        let mut greeting = [0; 64];
        socket.read_exact(&mut greeting).await?;
        return Ok(());
    }
    let granted = match (script.encryption, wanted) {
        (Encryption::NotSupported, _) => Encryption::NotSupported,
        (Encryption::Off, 1) => Encryption::On,
        (other, _) => other,
    };
    if granted == Encryption::NotSupported {
        log_in(&mut socket, script, log, false).await?;
        return batches(&mut socket, script, log).await;
    }
    let tunnel = Tunnel { socket, handshaking: true, left: 0, header: Vec::new(), outgoing: Vec::new() };
    let mut stream = acceptor(false).accept(tunnel).await?;
    stream.get_mut().0.handshaking = false;
    if granted == Encryption::Off {
        let (kind, message) = receive(&mut stream).await?;
        // What follows is plain.
        let mut socket = stream.into_inner().0.socket;
        answer_login(&mut socket, kind, &message, script, log, true).await?;
        return batches(&mut socket, script, log).await;
    }
    log_in(&mut stream, script, log, true).await?;
    batches(&mut stream, script, log).await
}

async fn batches(stream: &mut dyn Both, script: &Script, log: &Log) -> io::Result<()> {
    let mut transaction = 0_u64;
    loop {
        let (kind, message) = receive(stream).await?;
        if kind == ATTENTION {
            log.lock().expect("not poisoned").push(Seen::Attention);
            send(stream, &wire::done(wire::ATTENTION, 0)).await?;
            continue;
        }
        let headers = u32::from_le_bytes(message[..4].try_into().expect("4 bytes")) as usize;
        if kind == CALL {
            // By number: 0xffff, then which one.
            let procedure = u16::from_le_bytes([message[headers + 2], message[headers + 3]]);
            log.lock().expect("not poisoned").push(Seen::Call);
            // Of a script that hangs, not even the description comes; what does is an attention.
            if !(procedure == SP_PREPARE && matches!(script.end, End::Hang)) {
                send(stream, &called(procedure, script)).await?;
            }
            continue;
        }
        assert_eq!(kind, BATCH, "a client sends batches");
        let named = u64::from_le_bytes(message[10..18].try_into().expect("8 bytes"));
        assert_eq!(named, transaction, "the client names the transaction that runs");
        let units: Vec<u16> =
            message[headers..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        let sql = String::from_utf16(&units).expect("UTF-16");
        log.lock().expect("not poisoned").push(Seen::Batch(sql.clone()));
        if script.silent_on.is_some_and(|word| sql.contains(word)) {
            wait_for_attention(stream, log).await?;
            continue;
        }
        match answer(&sql, script) {
            Answer::Message(message) => {
                let mut tokens = Vec::new();
                if sql.contains("BEGIN TRANSACTION") {
                    transaction = 0x0102_0304_0506_0708;
                    tokens = wire::transaction_begins(transaction);
                }
                if sql.contains("COMMIT TRANSACTION") {
                    tokens = wire::transaction_ends(transaction);
                    transaction = 0;
                }
                send(stream, &[tokens, message].concat()).await?;
            }
            Answer::Rows => match &script.texts {
                Some((columns, rows)) if is_of_texts(&sql) => {
                    let (columns, rows) = (columns.clone(), rows.clone());
                    let script = Script { columns, rows, texts: None, ..script.clone() };
                    self::rows(stream, "", &script, log).await?;
                }
                _ => rows(stream, &sql, script, log).await?,
            },
        }
    }
}

async fn rows(stream: &mut dyn Both, sql: &str, script: &Script, log: &Log) -> io::Result<()> {
    let chosen = chosen(sql, script);
    let columns: Vec<Column> = chosen.iter().map(|index| cast_column(sql, &script.columns[*index])).collect();
    let rows: Rows =
        script.rows.iter().map(|row| chosen.iter().map(|index| row[*index].clone()).collect()).collect();
    let mut sender = Sender { stream, waiting: Vec::new() };
    sender.put(&wire::columns(&columns)).await?;
    let tokens: Vec<u8> = rows
        .iter()
        .flat_map(|row| wire::row(&columns, row, script.null_bitmap, script.chunk_bytes))
        .collect();
    for _time in 0..script.repeat {
        sender.put(&tokens).await?;
    }
    let count = (rows.len() * script.repeat) as u64;
    match &script.end {
        End::Done { surplus } => sender.put(&wire::done(wire::COUNTED, count + surplus)).await?,
        End::Error { number, state, class, text, line } => {
            sender.put(&wire::error(*number, *state, *class, text, *line)).await?;
            sender.put(&wire::done(wire::FAILED | wire::COUNTED, count)).await?;
        }
        End::Cut => {
            sender.flush().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        End::Hang => {
            sender.flush().await?;
            return wait_for_attention(sender.stream, log).await;
        }
        End::Bytes(bytes) => sender.put(bytes).await?,
        End::SecondResult => {
            sender.put(&wire::done(wire::COUNTED | wire::MORE, count)).await?;
            sender.put(&wire::columns(&columns)).await?;
            sender.put(&wire::done(wire::COUNTED, 0)).await?;
        }
    }
    sender.finish().await
}

async fn wait_for_attention(stream: &mut dyn Both, log: &Log) -> io::Result<()> {
    let (kind, _) = receive(stream).await?;
    assert_eq!(kind, ATTENTION, "nothing but an attention can stop a statement");
    log.lock().expect("not poisoned").push(Seen::Attention);
    send(stream, &wire::done(wire::ATTENTION, 0)).await
}
