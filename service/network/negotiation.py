"""An association request answered: which of the proposed presentation contexts are accepted (PS3.8 9.3.2 and 9.3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from service.network.stack import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_ACCEPTED, _BY_USER = 0x00, 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """Of one presentation context id."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """What an association was agreed to carry.

    Attributes
    ----------
    contexts
        Accepted ones, by presentation context id.
    longest_pdu
        Bytes of a P-DATA-TF that the peer takes, behind the header; 0 for any.
    answer
        The A-ASSOCIATE-AC PDU.
    """

    contexts: Mapping[int, AcceptedContext]
    longest_pdu: int
    answer: bytes


def negotiate(pdu: bytes, offered: Sequence[PresentationContext], *, longest_pdu: int) -> Negotiated:
    """Answer an A-ASSOCIATE-RQ PDU.

    Identities of users, asynchronous operations and extended negotiation are not answered: by that they are declined
    (PS3.7 D.3.3.3, D.3.3.5, D.3.3.7).

    Parameters
    ----------
    longest_pdu
        What we take.

    Raises
    ------
    Exception
        The request cannot be read; the library's exceptions are no closed set.
    """
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(pdu)
    request = decoded.to_primitive()
    roles: dict[str, tuple[bool | None, bool | None]] = {}
    peer_takes = 0
    for item in request.user_information:
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation):
            roles[str(item.sop_class_uid)] = (item.scu_role, item.scp_role)
        elif isinstance(item, MaximumLengthNotification):
            peer_takes = int(item.maximum_length_received)
    judged, accepted_roles = negotiate_as_acceptor(
        request.presentation_context_definition_list, deepcopy(list(offered)), roles
    )
    answer = A_ASSOCIATE()
    answer.application_context_name = request.application_context_name
    answer.calling_ae_title, answer.called_ae_title = request.calling_ae_title, request.called_ae_title
    answer.result, answer.result_source = _ACCEPTED, _BY_USER
    answer.presentation_context_definition_results_list = judged
    answer.user_information = [*_our_side(longest_pdu), *accepted_roles]
    encoded = A_ASSOCIATE_AC()
    encoded.from_primitive(answer)
    return Negotiated(
        contexts={
            cast(int, context.context_id): AcceptedContext(
                abstract_syntax=str(context.abstract_syntax), transfer_syntax=str(context.transfer_syntax[0])
            )
            for context in judged
            if context.result == _ACCEPTED
        },
        longest_pdu=peer_takes,
        answer=cast(bytes, encoded.encode()),
    )


def _our_side(longest_pdu: int) -> list[object]:
    length = MaximumLengthNotification()
    length.maximum_length_received = longest_pdu
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]
