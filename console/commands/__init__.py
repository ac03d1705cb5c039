"""The commands of ``points``, a module for each kind of work; `console.app` joins their apps."""
