"""Every client, loop, retry and process: what carries a Plan out.

May not contain: a business decision. An ``if`` that mentions a stage or a rate belongs inside.
"""
