//! The cryptography of real groups: both suites over aws-lc.

use mls_rs::{CipherSuite, CryptoProvider};
use mls_rs_crypto_awslc::{AwsLcCipherSuite, AwsLcCipherSuiteBuilder, AwsLcCryptoProvider, AwsLcHash, MlKem, Sha3};
use mls_rs_crypto_traits::{AeadId, Curve, KdfId};
use sync_types::Suite;

use super::{cipher_suite, suite_of};

/// The cryptography of groups of some suites, and of no others.
#[derive(Clone, Copy, Debug)]
pub struct Crypto {
    suites: &'static [Suite],
}

/// The cryptography of a device: that of [`Suite::OURS`]. Its key packages say so, and so does its place in a group.
pub const fn crypto() -> Crypto {
    Crypto { suites: Suite::OURS }
}

impl Crypto {
    /// The cryptography of every suite that there is: a relay, which holds no keys, follows groups of each.
    pub const fn every() -> Self {
        Self { suites: &[Suite::XWing, Suite::Fips] }
    }

    /// The cryptography of one suite alone: what a build has that does not know the others.
    pub const fn only(suite: Suite) -> Self {
        match suite {
            Suite::XWing => Self { suites: &[Suite::XWing] },
            Suite::Fips => Self { suites: &[Suite::Fips] },
        }
    }
}

impl Default for Crypto {
    fn default() -> Self {
        crypto()
    }
}

impl CryptoProvider for Crypto {
    type CipherSuiteProvider = AwsLcCipherSuite;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        self.suites.iter().map(|suite| cipher_suite(*suite)).collect()
    }

    fn cipher_suite_provider(&self, wanted: CipherSuite) -> Option<AwsLcCipherSuite> {
        match suite_of(wanted).filter(|suite| self.suites.contains(suite))? {
            Suite::XWing => AwsLcCryptoProvider::with_enabled_cipher_suites(vec![wanted]).cipher_suite_provider(wanted),
            Suite::Fips => fips(),
        }
    }
}

/// ML-KEM-768 and P-256 in the library's combiner, which is the one of suite 1 too; the rest is approved as it stands.
fn fips() -> Option<AwsLcCipherSuite> {
    let p256 = CipherSuite::P256_AES128;
    let (kdf, aead, sha3) = (KdfId::HkdfSha256, AeadId::Aes256Gcm, AwsLcHash::new_sha3(Sha3::SHA3_256)?);
    AwsLcCipherSuiteBuilder::new()
        .fallback_cipher_suite(p256)
        .signing(Curve::Ed25519)
        .kdf(kdf)
        .aead(aead)
        .combined_hpke(p256, MlKem::MlKem768, kdf, aead, sha3)
        .build(cipher_suite(Suite::Fips))
}
