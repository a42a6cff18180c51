"""A program that behaves like vLLM on an Intel card, without a card.

It takes vLLM's flags, prints vLLM's lines, allocates against a memory budget by rules of its own
and answers the OpenAI API. It knows nothing of the planner that it is used to test: two
independent answers to the same question. Standard library only.

Read in this order: ``truth`` (what is true of the card and what will go wrong), ``model``,
``card``, ``rules_v0`` and ``rules_v1`` (how an engine of that generation spends the card),
``core`` (the engine process), ``server`` (the API process), ``main``.
"""
