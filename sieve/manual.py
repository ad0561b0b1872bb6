"""The function table of the Momentum manual: each name with the phases that allow it.

It lists every function of Momentum 2.2. If a script calls one that Ringback lacks, the error message can say so.
"""

from __future__ import annotations

from types import MappingProxyType

from sieve.phases import Phase

EVERY = tuple(phase.value for phase in Phase)
_MESSAGE = ("data", "spool", "each_rcpt", "set_binding")
_CONTENT_EDIT = ("data", "spool", "each_rcpt")

_TABLE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        EVERY,
        (
            "audit_connections_on_listener audit_connections_on_service audit_series audit_series_add "
            "audit_service check_cidr ds_execute ds_fetch ds_fetch_flat ds_fetch_hash ec_action ec_add "
            "ec_base64_decode ec_base64_encode ec_ceil ec_config ec_disconnect ec_div ec_dns_lookup ec_error_mode "
            "ec_explode ec_floor ec_gauge_cache_dec ec_gauge_cache_get ec_gauge_cache_inc ec_gauge_cache_init "
            "ec_host_fingerprint ec_inc_counter ec_include ec_interfaces ec_ip_connections "
            "ec_ip_connections_cluster ec_ip_receptions ec_ip_receptions_cluster ec_ip_rejections "
            "ec_ip_rejections_cluster ec_keep ec_log ec_mem_usage ec_mime_boundary_create ec_mod ec_mul "
            "ec_nearbyint ec_pcre_match ec_rand ec_reject ec_rfc2047_encode_header ec_round "
            "ec_shared_throttle_check ec_shared_throttle_create ec_shared_throttle_inc ec_shared_throttle_tarpit "
            "ec_spool_space ec_sub ec_tarpit ec_test ec_thread_pool_get_queue_size ec_throttle_check "
            "ec_throttle_create ec_throttle_dec ec_throttle_inc ec_throttle_tarpit ec_tolower ec_trunc "
            "ec_valid_binding ec_valid_binding_group envelope generate_mail_raw hash_create hash_dump hash_get "
            "hash_keys hash_set hash_values is_true join keep qp_encode query_cidr reject reload_cidr reverse "
            "reverse_delim snmp_trap split stop thread_pool_stats type vctx_conn_delete vctx_conn_get "
            "vctx_conn_set vctx_mess_delete vctx_mess_get vctx_mess_set"
        ),
    ),
    (
        ("data",),
        (
            "beik_scan brightmail clamav_avscan cloudmark_score commtouch_scan csapi_avscan ec_url_ripper "
            "eleven_scan f_secure_avscan pe2_mark_bounced pe2_mark_unsubscribed"
        ),
    ),
    (
        ("each_rcpt",),
        "ec_maildir ec_set_routing_gateway",
    ),
    (
        # The manual's table allows only each_rcpt; its examples use it in every phase, before check_cidr.
        EVERY,
        "define_cidr",
    ),
    (
        # The table has only core_final_validation; the text says that it works in data. Ringback signs its own mail.
        EVERY,
        "ec_dkim_sign",
    ),
    (
        ("core_final_validation",),
        "ec_dk_sign",
    ),
    (
        # The manual allows only set_binding. Here the next hop of a binding may also answer RCPT.
        ("mailfrom", "rcptto", "data", "spool", "each_rcpt", "set_binding"),
        "ec_set_binding ec_set_binding_group",
    ),
    (
        ("connect", "ehlo"),
        "advertize_esmtp_capability disable_esmtp_capability",
    ),
    (
        ("mailfrom", "rcptto"),
        "smtp_callback_verify",
    ),
    (
        _CONTENT_EDIT,
        "disclaimer_add ec_header_add ec_header_postfix ec_header_prefix ec_rfc2047_encode_addresses ec_trace_context",
    ),
    (
        ("spool", "each_rcpt", "set_binding"),
        "ec_log_file",
    ),
    (
        # The manual's table omits each_rcpt; its text allows only each_rcpt. Ringback allows all of them.
        ("mailfrom", "rcptto", "data", "spool", "each_rcpt"),
        "add_recipient",
    ),
    (
        ("rcptto", "data", "spool", "each_rcpt"),
        "discard ec_discard ec_redirect ec_rewrite_mailfrom redirect",
    ),
    (
        _MESSAGE,
        (
            "ec_bounce_classify ec_dk_responsible_domain ec_dkim_domains ec_dkim_responsible_domain ec_forward "
            "ec_header_delete ec_header_get ec_mime_parts ec_rfc3464_delivery_status ec_valid_mime"
        ),
    ),
    (
        ("mailfrom", "rcptto", "data", "each_rcpt", "set_binding"),
        "address",
    ),
    (
        ("rcptto", "data", "spool", "each_rcpt", "set_binding"),
        (
            "ec_get_message_code ec_get_message_creation_time ec_get_message_id ec_get_message_mailfrom "
            "ec_get_message_num_retries ec_get_message_protocol ec_get_message_rcptto "
            "ec_get_message_received_from ec_get_message_received_from_port ec_get_message_received_via "
            "ec_get_message_received_via_port ec_get_message_size ec_get_message_spool_name"
        ),
    ),
    (
        ("accept", "connect", "ehlo", "mailfrom", "rcptto", "data"),
        "ec_cluster_cache_get ec_cluster_cache_set",
    ),
)

REFUSED: MappingProxyType[str, str] = MappingProxyType(
    {
        "snmp_trap": "Ringback sends no SNMP traps; count with ec_inc_counter and let your monitoring read /metrics",
        "thread_pool_stats": "Ringback has no thread pools for mail; /metrics shows what its processes do",
        "ec_host_fingerprint": (
            "Ringback does not guess clients' operating systems; p0f 2, which did this, is no longer available"
        ),
        "ec_maildir": "Ringback stores no mail; relay to a server that does, with Delivery_Method = LMTP",
        "clamav_avscan": "Ringback runs no virus scanner; let the next hop scan and reject in the same session",
        **dict.fromkeys(
            ("ec_dk_sign", "ec_dk_responsible_domain"),
            "DomainKeys is historic (RFC 4871 replaced it); use ec_dkim_sign and ec_dkim_responsible_domain",
        ),
        **dict.fromkeys(
            ("beik_scan", "brightmail", "brightmail_is_default", "brightmail_rules", "brightmail_scanner",
             "brightmail_tracker", "brightmail_verdict", "cloudmark_score", "commtouch_scan", "csapi_avscan",
             "eleven_scan", "f_secure_avscan"),
            "Ringback does not have this vendor's engine",
        ),
        **dict.fromkeys(
            ("pe2_mark_bounced", "pe2_mark_unsubscribed"), "Ringback does not have the pe2 mailing-list product"
        ),
    }
)  # fmt: skip
"""Functions that Ringback will not have → why, and what to use."""

FUNCTIONS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {name: phases for phases, names in _TABLE for name in names.split()}
)
"""Name to phases, in session order. Ringback has no scripts in the phase `core_final_validation`."""
