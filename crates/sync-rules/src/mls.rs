//! How 0k-Sync uses MLS (RFC 9420): the suite, who may be a member, and what a commit may do. Members and relays run
//! these same rules, so that a relay orders no commit that a member would refuse for them.

mod commit;
mod cut;
mod identity;
mod keys;
mod lineage;
mod provider;
mod rules;
pub(crate) mod tree;

pub(crate) use commit::message;
pub use commit::{CommitMessage, NotACommit};
pub use cut::cut;
pub use identity::{Identity, InvalidIdentity, member, seated};
pub use keys::check_keys;
pub use lineage::{Lineage, RANDOM};
pub use provider::{Crypto, crypto};
pub use rules::{Rules, Violation, judges, judges_of_move, settings_after_move, violation};

use mls_rs::{
    CipherSuite, Extension, ExtensionList,
    extension::{ExtensionType, built_in::RequiredCapabilitiesExt},
    identity::basic::BasicCredential,
};
use mls_rs_core::{crypto::SignatureSecretKey, group::ProposalType, protocol_version::ProtocolVersion};
use sync_types::Suite;
use sync_types::settings::{
    BASELINE_EXTENSION, EXTERNAL_PROOF_PROPOSAL, FIPS_CIPHER_SUITE, SETTINGS_EXTENSION, Settings,
};

use crate::SigningKey;

/// The MLS cipher suite of the groups that this build founds.
pub const CIPHER_SUITE: CipherSuite = cipher_suite(Suite::FOUNDED);

/// The MLS cipher suite of groups of this suite. Both numbers are of the range for private use: the first is mls-rs's own, the
/// second ours, as nobody else has these parts together.
pub const fn cipher_suite(suite: Suite) -> CipherSuite {
    match suite {
        Suite::XWing => CipherSuite::ML_KEM_768_X25519,
        Suite::Fips => CipherSuite::new(FIPS_CIPHER_SUITE),
    }
}

/// The suite of groups with this MLS cipher suite.
pub fn suite_of(mls: CipherSuite) -> Option<Suite> {
    [Suite::XWing, Suite::Fips].into_iter().find(|suite| cipher_suite(*suite) == mls)
}

/// The MLS version.
pub const PROTOCOL_VERSION: ProtocolVersion = ProtocolVersion::MLS_10;

/// The extension of the group's context that holds its settings.
pub const SETTINGS: ExtensionType = ExtensionType::new(SETTINGS_EXTENSION);

/// The extension of a welcome's GroupInfo that holds the newcomer's baseline.
pub const BASELINE: ExtensionType = ExtensionType::new(BASELINE_EXTENSION);

/// The proposal that every member declares, and that alone lets an external commit in.
pub const EXTERNAL_PROOF: ProposalType = ProposalType::new(EXTERNAL_PROOF_PROPOSAL);

/// A signing key in the form that MLS providers take for Ed25519: the seed, then the public key.
pub fn secret_key(key: &SigningKey) -> SignatureSecretKey {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&*key.seed());
    bytes.extend_from_slice(&key.public());
    bytes.into()
}

/// The extensions of a group's context, exactly: what every member must be able to do, and the settings.
pub fn context_extensions(settings: &Settings) -> ExtensionList {
    let required = RequiredCapabilitiesExt::new(
        vec![SETTINGS, BASELINE],
        vec![EXTERNAL_PROOF],
        vec![BasicCredential::credential_type()],
    );
    let mut list = ExtensionList::new();
    list.set_from(required).expect("three short lists encode");
    list.set(Extension::new(SETTINGS, sync_types::encode(settings)));
    list
}

/// Reads a group's settings out of its context and checks that nothing else stands there.
pub fn settings(extensions: &ExtensionList) -> Result<Settings, Violation> {
    let bytes = extensions.get(SETTINGS).ok_or(Violation::Extensions)?;
    let settings = Settings::parse(bytes.extension_data())?;
    if *extensions != context_extensions(&settings) {
        return Err(Violation::Extensions);
    }
    Ok(settings)
}
