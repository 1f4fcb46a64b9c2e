"""Code generators, one package each: validate, build the template context, emit."""
