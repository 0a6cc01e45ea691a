"""The claims of a paper, with systems that exist."""

from __future__ import annotations

from covid_keras.common.files import sha256_of
from covid_keras.paper.paper import Paper
from covid_keras.paper.registered import load_papers
from covid_keras.published.claims import CLAIMS, Claim, check_systems, load_claims, split_system


def claims_of(paper: Paper) -> dict[str, Claim]:
    """Return the claims in the paper's `claims.yaml` by id, in file order; none if there is no such file.

    Raises
    ------
    UserError
        If the file is invalid, or names an unknown system, number or paper.
    """
    path = paper.folder / CLAIMS
    if not path.is_file():
        return {}
    claims = load_claims(path, paper.name)
    names = {name for claim in claims.values() for name in claim.systems}
    papers = {paper.name: paper}
    if any(split_system(name, paper.name)[0] != paper.name for name in names):
        papers |= load_papers()
    known = {name: [system.name for system in one.systems] for name, one in papers.items()}
    check_systems(claims, paper.name, known, path)
    return claims


def claims_hash(paper: Paper) -> str:
    """Return the SHA-256 of the paper's `claims.yaml`; "" if it has none."""
    path = paper.folder / CLAIMS
    return sha256_of(path) if path.is_file() else ""
