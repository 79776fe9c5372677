//! What the stores of Azure and Google have in common: requests that are repeated within limits,
//! tokens that are renewed, answers in XML.

pub(super) mod failure;
pub(super) mod http;
pub(super) mod token;
pub(super) mod token_service;
pub(super) mod xml;
