"""Branches on grpcio's servers, async and blocking (PROTOCOL §2, §10).

Needs `pip install 'dtm-coordinator[grpcio]'`. These servers take the content type of Go coordinators,
`application/grpc+dtm_raw`, as they are.
"""

from coordinator.client.extras import brought_by

with brought_by("grpcio"):
    from coordinator.client.frameworks.for_grpcio import (
        BlockingBranchInterceptor,
        BranchInterceptor,
        blocking_branch_method,
        branch_method,
    )

__all__ = ["BlockingBranchInterceptor", "BranchInterceptor", "blocking_branch_method", "branch_method"]
