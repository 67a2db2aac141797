"""How each kind of seam is wrapped: the only code that knows both an SDK's calling convention and the guard."""
