"""What the sandboxed interpreter runs first, as source text: limits, then the code from its input.

It runs inside, where nothing of Headrace can be seen; that is why it is a text and not imported. The
value of a last line that is an expression is printed, as an interactive interpreter does.
"""

from __future__ import annotations

# Arguments: bytes of memory, seconds of processor time, bytes of a file, a folder of packages or "".
BOOTSTRAP = r"""
import sys
def start():
    import ast, linecache, os, resource, traceback
    memory, cpu, file, packages = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    code = sys.stdin.buffer.read().decode("utf-8")
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    for what, soft, hard in (
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, file, file),
        (resource.RLIMIT_NOFILE, 128, 128),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        most = resource.getrlimit(what)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(what, (soft, hard))
    if packages:
        sys.path.append(packages)
    sys.path.insert(0, os.getcwd())
    sys.argv = ["<code>"]
    linecache.cache["<code>"] = (len(code), None, code.splitlines(True), "<code>")
    space = sys.modules["__main__"].__dict__
    space.pop("start", None)
    try:
        tree = ast.parse(code, "<code>")
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        exec(compile(tree, "<code>", "exec"), space)
        if last is not None:
            value = eval(compile(last, "<code>", "eval"), space)
            if value is not None:
                print(repr(value))
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        try:
            traceback.print_exception(type(error), error, trace)
        except MemoryError:
            sys.stderr.write("MemoryError\n")
        sys.exit(1)
start()
"""
