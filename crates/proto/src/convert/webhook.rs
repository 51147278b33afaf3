//! Webhooks, as users write them.

use muster_core::spec::webhook::{Credential, TokenDigest, WebhookSpec};

use super::error::DecodeError;
use super::read::{name, params_from_proto, required};
use crate::v1;
use crate::v1::webhook_spec::Credential as Kind;

pub(super) fn webhook_to_proto(webhook: &WebhookSpec) -> v1::WebhookSpec {
    let credential = match &webhook.credential {
        Credential::Token(TokenDigest(digest)) => Kind::TokenSha256(digest.to_vec().into()),
        Credential::Signature { key, header } => {
            Kind::Signature(v1::SignatureSpec { key: key.to_string(), header: header.to_string() })
        }
    };
    let params = webhook.params.iter();
    v1::WebhookSpec {
        name: webhook.name.to_string(),
        credential: Some(credential),
        params: params.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}

pub(super) fn webhook_from_proto(webhook: v1::WebhookSpec) -> Result<WebhookSpec, DecodeError> {
    let credential = match required("credential", webhook.credential)? {
        Kind::TokenSha256(digest) => {
            let wrong = || DecodeError::invalid("token_sha256", "must have 32 bytes");
            Credential::Token(TokenDigest(digest[..].try_into().map_err(|_| wrong())?))
        }
        Kind::Signature(signature) => Credential::Signature {
            key: name("signature.key", &signature.key)?,
            header: signature.header.into(),
        },
    };
    let name = name("name", &webhook.name)?;
    Ok(WebhookSpec { name, credential, params: params_from_proto(webhook.params)? })
}
