"""The running program: it joins the engine, the links, the system's network and the status server."""
