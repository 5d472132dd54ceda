"""waterfill in the places where vectors already live: a module for each host.

Each module imports its host, so it needs the extra of its name: the extra ``langchain`` for
`waterfill.integrations.langchain`.
"""
