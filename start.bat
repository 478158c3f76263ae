@echo off
rem Finds a Python that fits (3.11 to 3.14, newest tested first) and hands everything to start.py.
rem Double-click it, or run it in a terminal with the same options as start.py.
setlocal
cd /d "%~dp0"

for %%v in (3.13 3.12 3.11 3.14) do (
  py -%%v -c "import sys" >nul 2>nul && set "LORA_PYTHON=py -%%v" && goto run
)
rem The python on PATH may be the shop window that Windows puts there; only one that answers counts.
for %%p in (python python3) do (
  %%p -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))" >nul 2>nul && set "LORA_PYTHON=%%p" && goto run
)

echo.
echo The app was not started.
echo   Why: no Python from 3.11 to 3.14 was found on this computer.
echo   What to do: install Python 3.13 (64 bit) from https://www.python.org/downloads/windows/
echo     or run:  winget install Python.Python.3.13
echo     Then open start.bat again.
echo.
set "code=2"
goto done

:run
%LORA_PYTHON% "%~dp0start.py" %*
set "code=%errorlevel%"

:done
rem After a double click the window would close before anybody has read it.
echo %cmdcmdline% | find /i "%~nx0" >nul && if not "%code%"=="0" pause
exit /b %code%
