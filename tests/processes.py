"Python processes that start fast: forks of one that has imported torch, as fresh as those of `python -c` in all else"
import atexit, json, os, shutil, subprocess, sys, tempfile, textwrap, time

SERVER = """
import json, os, signal, sys, time, types, warnings
import torch, torch.distributed, torch.utils.data, torchvision, torchvision.tv_tensors

def ended(pid, deadline):
    "Exit status of a child, None if it is still running at the deadline"
    while True:
        found,status = os.waitpid(pid, os.WNOHANG)
        if found: return os.waitstatus_to_exitcode(status)
        if time.monotonic()>deadline: return
        time.sleep(.01)

def serve():
    "Answer requests; in a child, return what it has to do"
    for line in sys.stdin:
        ask = json.loads(line)
        if 'code' in ask:
            answer = os.fork()
            if not answer: return ask
        elif 'kill' in ask: answer = os.kill(ask['kill'], signal.SIGKILL)
        else: answer = ended(ask['wait'], time.monotonic() + ask['seconds'])
        print(json.dumps(answer), flush=True)

job = serve()
if job:
    for fd,path in enumerate([os.devnull, job['out'] + '1', job['out'] + '2']): os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), fd)
    os.chdir(job['cwd'])
    os.environ.clear(), os.environ.update(job['env'])
    sys.argv = ['-c', *job['args']]
    sys.path[:0] = [o for o in os.environ.get('PYTHONPATH', '').split(os.pathsep) if o]
    sys.warnoptions += job['warn']
    warnings._processoptions(job['warn'])
    main = sys.modules['__main__'] = types.ModuleType('__main__')
    exec(compile(job['code'], '<string>', 'exec'), vars(main))
"""


class Process:
    "A running process; `finish` gives what `subprocess.run` does"
    def __init__(self, pid, out): self.pid,self.out = pid, out

    def wait(self, timeout):
        code = _ask(wait=self.pid, seconds=timeout)
        if code is None: raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def kill(self): _ask(kill=self.pid)

    def finish(self, timeout=300):
        try: code = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        texts = []
        for o in '12':
            with open(self.out + o, encoding='utf-8') as f: texts.append(f.read())
            os.unlink(self.out + o)
        return subprocess.CompletedProcess(str(self.pid), code, *texts)


def _ask(**request):
    global _server
    if _server is None:
        _server = subprocess.Popen([sys.executable, '-u', '-c', SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_folder)
        atexit.register(_server.stdin.close)
    _server.stdin.write(json.dumps(request) + '\n')
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())


_server,_folder,_count = None, tempfile.mkdtemp(prefix='processes-'), 0
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def start(code, *args, warn=(), env={}, cwd=None):
    "Begin a process; `warn` is what follows `-W`, `env` is added to the environment"
    global _count
    _count += 1
    out = os.path.join(_folder, str(_count))
    pid = _ask(code=textwrap.dedent(code), args=[*map(str, args)], warn=[*warn], env={**os.environ, **env}, cwd=os.fspath(cwd or os.getcwd()), out=out)
    return Process(pid, out)


def run(code, *args, timeout=300, **kw):
    "As `subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True)`"
    return start(code, *args, **kw).finish(timeout)


def until(condition, seconds=120):
    "Wait for a condition; a process that should bring it about may have failed"
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic()<deadline, f'nothing happened within {seconds} seconds'
        time.sleep(.01)
