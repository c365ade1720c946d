"""CloudEvents 1.0 in binary mode, and recognising the forms in which companies publish."""

from __future__ import annotations

from stagepost.engine import cloudevents


def test_public_headers_are_binary_mode_with_run_and_cause() -> None:
    made = cloudevents.headers(
        cloudevents.TRANSITION,
        cloudevents.source("acme.", "journey"),
        "id-1",
        "2026-11-02T09:14:07.120Z",
        "c1",
        correlation="c1/j/1",
        causation="e1",
        trace=(("traceparent", b"00-1-2-01"),),
    )
    assert dict(made) == {
        "ce_specversion": b"1.0",
        "ce_id": b"id-1",
        "ce_type": b"dev.stagepost.transition.v1",
        "ce_source": b"urn:stagepost:acme:journey",
        "ce_time": b"2026-11-02T09:14:07.120Z",
        "ce_subject": b"c1",
        "content-type": b"application/json",
        "ce_correlationid": b"c1/j/1",
        "ce_causationid": b"e1",
        "traceparent": b"00-1-2-01",
    }


def test_only_the_trace_context_is_carried_over() -> None:
    headers = (("traceparent", b"a"), ("cookie", b"b"), ("tracestate", b"c"))
    assert cloudevents.trace_of(headers) == (("traceparent", b"a"), ("tracestate", b"c"))


def test_a_trace_context_that_is_too_long_to_be_one_stays_behind() -> None:
    headers = (("traceparent", b"a" * 512), ("tracestate", b"c" * 513))
    assert (headers[0],) == cloudevents.trace_of(headers)


def test_an_attribute_that_is_no_text_is_left_out() -> None:
    assert {"specversion": "1.0"} == cloudevents.attributes_of((("ce_specversion", b"1.0"), ("ce_subject", b"\xff")))


def test_binary_mode_is_known_by_its_specversion_header() -> None:
    assert cloudevents.attributes_of((("content-type", b"application/json"),)) is None
    assert cloudevents.attributes_of((("ce_specversion", b"1.0"), ("ce_id", b"7"))) == {"specversion": "1.0", "id": "7"}


def test_structured_mode_is_known_by_content_type_or_specversion() -> None:
    typed = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    assert cloudevents.is_structured(typed, {})
    assert cloudevents.is_structured((), {"specversion": "1.0"})
    assert not cloudevents.is_structured((), {"id": "1"})
    assert not cloudevents.is_structured(typed, [])
