//! The masters themselves.

use muster_proto::v1;

use crate::client::{Client, call};
use crate::error::Error;

impl Client {
    /// What some master sees of the cluster. Needs no leader.
    ///
    /// # Errors
    /// Only if no master can be reached.
    pub async fn cluster_status(&self) -> Result<v1::GetClusterStatusResponse, Error> {
        call!(self, v1::GetClusterStatusRequest::default(), cluster.get_cluster_status).await
    }

    /// What the master at this address sees of the cluster; it need not be one of the client's own.
    ///
    /// # Errors
    /// If that master cannot be reached, or the address is malformed.
    pub async fn cluster_status_of(
        &self,
        address: &str,
    ) -> Result<v1::GetClusterStatusResponse, Error> {
        let one = self.alone(address)?;
        call!(one, v1::GetClusterStatusRequest::default(), cluster.get_cluster_status).await
    }

    /// As [`cluster_status_of`](Self::cluster_status_of), with the digest of its state: replicas at the same applied
    /// index have the same one. The master walks over its whole state for it.
    ///
    /// # Errors
    /// As there.
    pub async fn cluster_status_with_digest_of(
        &self,
        address: &str,
    ) -> Result<v1::GetClusterStatusResponse, Error> {
        let one = self.alone(address)?;
        let request = v1::GetClusterStatusRequest { with_digest: true };
        call!(one, request, cluster.get_cluster_status).await
    }

    /// Hands leadership to a member, by name or id; empty: to the best follower. Returns the new leader's id.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such member, `FAILED_PRECONDITION` if it cannot lead.
    pub async fn transfer_leader(&self, to: impl Into<String>) -> Result<u64, Error> {
        let request = v1::TransferLeaderRequest { to: to.into() };
        Ok(call!(self, request, cluster.transfer_leader).await?.leader_id)
    }
}
